"""A release for an environment that has none, so that its endpoint can be reviewed."""

import re
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def pin_schema(tree: Path) -> int:
    """The form of the pins that a side reads; its own, for a review may be of a change of just that."""
    path = tree / "stacks" / "release.py"
    told = re.search(r"^SCHEMA = (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else None
    return int(told[1]) if told else 1


def stand_in(settings: Json, schema: int) -> Json:
    """A pin for an environment that has no release: so its endpoint stack is there to be reviewed."""
    since_2: Json = {
        "predecessor": None,
        "code_commit": None,
        "data_manifest_sha256": None,
        "promoted_from": None,
    }
    name, account, region = settings["name"], settings["account"], settings["region"]
    return {
        "schema": schema,
        "model_package_arn": f"arn:aws:sagemaker:{region}:{account}:model-package/amplify-{name}/1",
        "model_package_version": 1,
        "image_digest": f"sha256:{'0' * 64}",
        "artifact": {
            "s3_uri": "s3://stand-in/runs/none/model/none/model.tar.gz",
            "version_id": "none",
            "sha256": "0" * 64,
        },
        "recipe": "none",
        "evaluation": {"loss": 0.0, "proteins": 1, "artifact_sha256": "0" * 64},
        "code_bundle": "none",
        **(since_2 if schema > 1 else {}),
        "approved_by": "nobody: a stand-in of the review",
        "approved_at": "2000-01-01T00:00:00+00:00",
    }
