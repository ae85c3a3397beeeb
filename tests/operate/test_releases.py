"""Release pins as files."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from operate import releases
from operate.aws import Aws
from operate.errors import OperateError
from operate.provenance import code_commit
from stacks.bundle import archive
from tests.operate.test_promotion_copy import push


def test_an_environment_without_a_pin_has_no_release(tmp_path: Path) -> None:
    assert releases.read(tmp_path, "local") is None


@pytest.mark.parametrize("content", ["{", "[]", '{"model_package_arn": 5}', ""])
def test_a_file_that_is_no_pin_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "local.json").write_text(content)
    with pytest.raises(OperateError, match="is not a release pin") as caught:
        releases.read(tmp_path, "local")
    assert "amplify approve" in caught.value.todo


def test_a_pin_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    old = dict.fromkeys(releases.SAID, "old") | {"model_package_arn": "old"}
    releases.write(tmp_path, "local", old)
    with pytest.raises(TypeError):
        releases.write(tmp_path, "local", {"model_package_arn": object()})
    assert releases.read(tmp_path, "local") == old
    assert [path.name for path in tmp_path.iterdir()] == ["local.json"]


# ---- which code, which data ------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


def test_the_commit_of_an_image_is_the_one_whose_code_makes_its_bundle(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    code = tmp_path / "model_code" / "launch.py"
    code.parent.mkdir()
    commits, bundles = [], []
    for text in ("one", "two"):
        code.write_text(text)
        bundles.append(hashlib.sha256(archive(code.parent)).hexdigest())
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", text)
        commits.append(git(tmp_path, "rev-parse", "HEAD").strip())
    (tmp_path / "README.md").write_text("another commit, the same code")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "three")
    code.write_text("not committed")
    assert [code_commit(tmp_path, bundle) for bundle in bundles] == commits
    assert code_commit(tmp_path, hashlib.sha256(archive(code.parent)).hexdigest()) is None


def test_without_git_no_commit_is_made_up(tmp_path: Path) -> None:
    assert code_commit(tmp_path, "0" * 64) is None


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_an_artifact_is_read_once_for_its_digest_and_for_what_it_was_trained_on() -> None:
    artifact = packed(manifest_json=b'{"format": 1}', model_safetensors=bytes(3 * releases.BLOCK_BYTES))
    stream = releases.HashedStream(io.BytesIO(artifact))
    assert releases.file_in(stream, "manifest.json") == b'{"format": 1}'
    assert stream.rest() == hashlib.sha256(artifact).hexdigest()
    assert releases.file_in(io.BytesIO(packed(config_json=b"{}")), "manifest.json") is None


# ---- what is approved ------------------------------------------------------------------------------------------------

TAG = f"cpu-{'1' * 64}"


def registered(aws: Aws, code: Path, name: Callable[[str], str]) -> str:
    """A package, with an evaluation of the very bytes that it names, of the image that `name(its digest)` names."""
    artifact = packed(config_json=b"{}")
    account = aws.client("sts").get_caller_identity()["Account"]
    s3, sagemaker, ecr = (aws.client(one) for one in ("s3", "sagemaker", "ecr"))
    bucket = f"artifacts-{account}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="model.tar.gz", Body=artifact)
    evaluation = {"artifact_sha256": hashlib.sha256(artifact).hexdigest(), "loss": 2.5, "proteins": 10}
    s3.put_object(Bucket=bucket, Key="evaluation.json", Body=json.dumps(evaluation).encode())
    ecr.create_repository(repositoryName="amplify-local")
    (code / "launch.py").touch()
    digest = push(ecr, "amplify-local", b"config", archive(code), tag=TAG)
    sagemaker.create_model_package_group(ModelPackageGroupName="amplify-local")
    package = sagemaker.create_model_package(
        ModelPackageGroupName="amplify-local",
        InferenceSpecification={
            "Containers": [
                {
                    "Image": f"{account}.dkr.ecr.us-east-1.amazonaws.com/amplify-local{name(digest)}",
                    "ModelDataUrl": f"s3://{bucket}/model.tar.gz",
                }
            ],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        ModelMetrics={
            "ModelQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{bucket}/evaluation.json"}
            }
        },
    )
    return str(package["ModelPackageArn"])


def status(aws: Aws, arn: str) -> str:
    return str(aws.client("sagemaker").describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"])


def test_a_package_whose_image_is_a_tag_is_not_approved(aws: Aws, tmp_path: Path) -> None:
    """A run that somebody started by hand may name any image of the repository."""
    by_tag = registered(aws, tmp_path, lambda _digest: f":{TAG}")
    with pytest.raises(OperateError, match="without a digest") as caught:
        releases.approve(aws, by_tag, "ada")
    assert "amplify train" in caught.value.todo
    assert status(aws, by_tag) == "PendingManualApproval"


def test_a_package_of_an_image_by_its_digest_is_approved_with_the_code_that_its_tag_names(
    aws: Aws, tmp_path: Path
) -> None:
    by_digest = registered(aws, tmp_path, lambda digest: f"@{digest}")
    with pytest.raises(OperateError, match="is none that local could deploy: model_package_arn is"):
        releases.approve(aws, by_digest, "ada")  # of another account than environments.py says
    assert status(aws, by_digest) == "PendingManualApproval"
    account = aws.client("sts").get_caller_identity()["Account"]
    own = replace(aws, environment=replace(aws.environment, account=account))
    pin = releases.approve(own, by_digest, "ada")
    assert status(aws, by_digest) == "Approved"
    assert pin["code_bundle"] == "1" * 64
    assert pin["image_digest"].startswith("sha256:")
