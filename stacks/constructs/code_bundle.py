"""The bundle of a folder of code (stacks/bundle.py) as an asset: `cdk deploy` uploads it before it touches a stack."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.bundle import archive


class CodeBundle(Construct):
    """The bundle as an asset of this stack: uploaded by `cdk deploy` before the stack is touched."""

    def __init__(self, scope: Construct, id: str, *, folder: Path, parts: Sequence[str] = (".",)) -> None:
        super().__init__(scope, id)
        content = archive(folder, parts)
        self.sha256 = hashlib.sha256(content).hexdigest()

        stage = cdk.Stage.of(self)
        assert stage is not None, "every construct of an app lives in a stage"
        file = Path(stage.asset_outdir) / f"{self.sha256}.zip"
        file.write_bytes(content)
        stack = cdk.Stack.of(self)
        location = stack.synthesizer.add_file_asset(
            file_name=os.path.relpath(file, stage.outdir),
            source_hash=self.sha256,
            packaging=cdk.FileAssetPackaging.FILE,
            display_name=folder.name,
        )
        self.bucket = s3.Bucket.from_bucket_name(self, "Assets", location.bucket_name)
        self.key = location.object_key
        self.s3_uri = f"s3://{location.bucket_name}/{location.object_key}"

    def image_tag(self, target: str) -> str:
        """The tag of the image that `model_code/Dockerfile` makes of this bundle, for `target` cpu or gpu."""
        return f"{target}-{self.sha256}"
