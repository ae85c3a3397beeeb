"""Another model."""

from tests.review.workshop import Planted

PIN = "releases/prod.json"
LOSS = '    "loss": 2.7,'

TABLE = (
    Planted(
        name="another model",
        edits=(
            (PIN, "model-package/amplify-prod/7", "model-package/amplify-prod/8"),
            (PIN, '"model_package_version": 7', '"model_package_version": 8'),
            (PIN, LOSS, '    "loss": 2.6,'),
        ),
        expect={"promotion": "look"},
        says="model 7 (demo) → model 8 (demo), loss 2.7 → 2.6",
    ),
    Planted(
        name="a worse model",
        edits=(
            (PIN, "model-package/amplify-prod/7", "model-package/amplify-prod/8"),
            (PIN, '"model_package_version": 7', '"model_package_version": 8'),
            (PIN, LOSS, '    "loss": 2.9,'),
        ),
        expect={"promotion": "look"},
        says="has a higher loss than the model before: 2.7 → 2.9",
    ),
    Planted(
        name="a model that failed its evaluation",
        edits=((PIN, '"beats_letter_frequencies": true', '"beats_letter_frequencies": false'),),
        expect={"promotion": "stop"},
        says="has no evaluation that it passed",
    ),
    Planted(
        name="an image that staging never saw",
        edits=((PIN, '"image_digest": "sha256:abab', '"image_digest": "sha256:00ab'),),
        expect={"promotion": "look"},
        says="is not what staging serves",
    ),
)
