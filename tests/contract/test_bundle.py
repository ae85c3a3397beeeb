"""The seam between the stacks and the image: the bundle's digest is asset key and image tag, and it runs alone."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stacks.bundle import archive
from stacks.workbench import PROJECT
from tests.stacks.synthesis import ROOT, assembly, templates

MODEL_CODE = ROOT / "model_code"


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_the_bundles_digest_is_its_asset_key_and_the_tag_of_the_image(environment: str) -> None:
    outputs = templates()[f"{environment}/training"]["Outputs"]
    uri = outputs["CodeBundleUri"]["Value"]
    sha256 = uri.rsplit("/", 1)[1].removesuffix(".zip")
    assert uri.startswith("s3://cdk-hnb659fds-assets-")
    assert json.dumps(outputs["ImageUri"]["Value"]).count(f"-{sha256}") == 1

    [manifest] = assembly().glob(f"assembly-{environment}/*training*.assets.json")
    asset = json.loads(manifest.read_text())["files"][sha256]
    assert asset["source"]["packaging"] == "file"
    assert [destination["objectKey"] for destination in asset["destinations"].values()] == [f"{sha256}.zip"]
    file = manifest.parent / asset["source"]["path"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256


def test_the_bundle_holds_the_entry_point_and_every_module_and_recipe(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(archive(MODEL_CODE))
    shipped = set(zipfile.ZipFile(bundle).namelist())
    written = {p.relative_to(MODEL_CODE).as_posix() for p in MODEL_CODE.rglob("*") if p.suffix in (".py", ".json")}
    written = {name for name in written if not name.startswith(".") and "/." not in name}
    assert written <= shipped
    assert {"launch.py", "Dockerfile", "requirements.txt"} <= shipped


def test_the_bundle_runs_where_nothing_else_of_the_project_is(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(archive(MODEL_CODE))
    zipfile.ZipFile(bundle).extractall(tmp_path / "code")
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import sys; sys.path.insert(0, '.'); import launch, prepare, train, evaluate, serve",
        ],
        cwd=tmp_path / "code",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


WITH_WHAT_A_NOTEBOOK_HAS = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("aws_cdk", "environments", "local_aws", "rich", "stacks", "typer", "yaml"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, ".")
from operate.client import AmplifyClient
import operate
assert operate.__file__.startswith(sys.argv[1]), operate.__file__
AmplifyClient("amplify-dev", runtime=object())
"""


def test_the_client_of_a_notebook_runs_with_what_is_there(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(archive(ROOT, PROJECT))
    code = tmp_path / "code"
    zipfile.ZipFile(bundle).extractall(code)
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITH_WHAT_A_NOTEBOOK_HAS, str(code)],
        cwd=code,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_part_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text("")
    with pytest.raises(ValueError, match=r"has no gone\.py, lost: what is shipped"):
        archive(tmp_path, ("there.py", "gone.py", "lost"))
