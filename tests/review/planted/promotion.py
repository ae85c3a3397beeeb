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
        expect={"promotion": "stop"},
        says="has a higher loss than the model before: 2.7 → 2.9; at most 0.01 is allowed",
    ),
    Planted(
        name="a model that is worse by no more than noise",
        edits=((PIN, LOSS, '    "loss": 2.705,'),),
        expect={"promotion": "look"},
        says="2.7 → 2.705",
    ),
    Planted(
        name="a model of another account",
        edits=((PIN, ":333333333333:model-package/amplify-prod/7", ":999999999999:model-package/amplify-prod/7"),),
        expect={"policy": "stop"},  # the project itself refuses it
        says="in account 333333333333",
    ),
    Planted(
        name="a model of another bucket",
        edits=((PIN, '"s3_uri": "s3://amplify-prod-artifacts/', '"s3_uri": "s3://strangers-bucket/'),),
        expect={"promotion": "stop"},
        says="from bucket strangers-bucket",
    ),
    Planted(
        name="a model that staging did not send",
        edits=((PIN, '"environment": "staging"', '"environment": "dev"'),),
        expect={"promotion": "stop"},
        says="it comes from dev, and not from staging",
    ),
    Planted(
        name="pins that lie elsewhere",
        edits=(
            ("cdk.json", '  "context": {\n', '  "context": {\n    "releases": "tests/stacks/releases",\n'),
            (
                "tests/stacks/releases/prod.json",
                ":333333333333:model-package/amplify-prod/7",
                ":333333333333:model-package/amplify-prod/9",
            ),
            ("tests/stacks/releases/prod.json", '"model_package_version": 7', '"model_package_version": 9'),
        ),
        expect={"promotion": "stop"},
        says="which no pin of prod in releases/ names",
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
    Planted(
        name="a release that may be far worse",
        edits=(("environments.py", 'source="staging", loss_margin=0.01', 'source="staging", loss_margin=0.4'),),
        expect={"promotion": "look"},
        says="how much worse a release may be than the one before, in nats: 0.01 → 0.4",
    ),
    Planted(
        name="releases past staging",
        edits=(("environments.py", 'source="staging"', 'source="dev"'),),
        expect={"promotion": "stop", "broadening": "stop"},  # dev lets prod's role in, too
        says="releases come from dev and no longer from staging",
    ),
    Planted(
        name="releases without a way",
        edits=(("environments.py", '    promotion=Promotion(source="staging", loss_margin=0.01),\n', ""),),
        # Its roles and the golden alarm go; the deployer reads versions where the release role did.
        expect={"promotion": "stop", "destructive": "look", "safeguards": "stop", "broadening": "look"},
        says="releases came from staging through its gates, and can be made here without them",
    ),
    Planted(
        name="somebody who promotes",
        edits=(
            (
                "environments.py",
                '    promotion=Promotion(source="staging", loss_margin=0.01),\n',
                '    promotion=Promotion(source="staging", loss_margin=0.01),\n    people=People(promoters=("leads",)),\n',
            ),
            ("environments.py", "    OnDemand,\n", "    OnDemand,\n    People,\n"),
        ),
        expect={"broadening": "look"},
        says="leads",
    ),
)
