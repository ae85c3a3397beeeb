"""Images: a tag becomes the code whose digest it holds, for good; anything else is refused in words."""

import hashlib
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from local_aws import images
from local_aws.images import ImageError
from stacks.bundle import archive

ACCOUNT, REGION = "123456789012", "us-east-1"
ASSETS = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
FILES = {
    "launch.py": b"import sys; from package.module import ANSWER; print(ANSWER, *sys.argv[1:])",
    "package/__init__.py": b"",
    "package/module.py": b"ANSWER = 42",
}


def zipped(files) -> bytes:
    """A zip of (name or ZipInfo, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items() if isinstance(files, dict) else files:
            bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def registry(aws, inside):
    """upload(content, name=None) puts a bundle where `cdk deploy` would, builds it, and returns the image's URI."""
    aws("s3").create_bucket(Bucket=ASSETS)
    aws("ecr").create_repository(repositoryName="amplify-test", imageTagMutability="IMMUTABLE")

    def upload(content: bytes, *, sha256: str | None = None, target: str = "cpu") -> str:
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        aws("s3").put_object(Bucket=ASSETS, Key=f"{sha256}.zip", Body=content)
        uri = f"{REGISTRY}/amplify-test:{target}-{sha256}"
        images.fetch(uri, f"s3://{ASSETS}/{sha256}.zip", ACCOUNT, REGION)
        images.push(uri, ACCOUNT, REGION)
        return uri

    return upload


@pytest.fixture
def bundle(request) -> bytes:
    """A bundle that no other test has."""
    return zipped({**FILES, "test.txt": request.node.name.encode()})


def test_a_tag_becomes_runnable_code_and_a_digest(registry, bundle):
    image = images.resolve(registry(bundle), ACCOUNT, REGION)
    ran = subprocess.run(images.command(image, ["train", "--x"]), capture_output=True, text=True, check=True)
    assert ran.stdout == "42 train --x\n"
    assert images.command(image, "serve")[1:] == [str(image.folder / "launch.py"), "serve"]


def test_tag_and_digest_name_the_same_code(registry, bundle, aws):
    by_tag = images.resolve(registry(bundle), ACCOUNT, REGION)
    assert images.resolve(f"{REGISTRY}/amplify-test@{by_tag.digest}", ACCOUNT, REGION) == by_tag
    (kept,) = aws("ecr").batch_get_image(repositoryName="amplify-test", imageIds=[{"imageDigest": by_tag.digest}])[
        "images"
    ]
    manifest = json.loads(kept["imageManifest"])
    assert manifest["layers"][0]["digest"] == f"sha256:{hashlib.sha256(bundle).hexdigest()}"
    assert manifest["layers"][0]["size"] == len(bundle)


def test_the_targets_of_one_bundle_are_two_images_of_the_same_code(registry, bundle):
    cpu = images.resolve(registry(bundle, target="cpu"), ACCOUNT, REGION)
    gpu = images.resolve(registry(bundle, target="gpu"), ACCOUNT, REGION)
    assert cpu.digest != gpu.digest
    assert cpu.folder == gpu.folder


def test_code_comes_back_from_the_kept_bundle_when_both_folder_and_asset_are_gone(registry, bundle, aws, inside):
    uri = registry(bundle)
    image = images.resolve(uri, ACCOUNT, REGION)
    aws("s3").delete_object(Bucket=ASSETS, Key=f"{image.folder.name}.zip")
    for file in sorted(image.folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert images.resolve(uri, ACCOUNT, REGION) == image
    assert (image.folder / "package" / "module.py").read_bytes() == FILES["package/module.py"]


@pytest.mark.parametrize("change", ["edited", "added", "removed", "linked"])
def test_code_that_was_changed_on_the_disk_is_put_right_before_it_runs(registry, bundle, change, tmp_path):
    uri = registry(bundle)
    folder = images.resolve(uri, ACCOUNT, REGION).folder
    module = folder / "package" / "module.py"
    if change == "edited":
        module.chmod(0o644)
        module.write_text("ANSWER = 43")
    elif change == "added":
        (folder / "sitecustomize.py").write_text("print('surprise')")
    elif change == "removed":
        module.unlink()
    else:
        module.unlink()
        (tmp_path / "elsewhere.py").write_bytes(FILES["package/module.py"])
        module.symlink_to(tmp_path / "elsewhere.py")
    images.resolve(uri, ACCOUNT, REGION)
    assert not module.is_symlink()
    assert module.read_bytes() == FILES["package/module.py"]
    assert not (folder / "sitecustomize.py").exists()


def test_the_files_of_an_image_are_read_only(registry, bundle):
    folder = images.resolve(registry(bundle), ACCOUNT, REGION).folder
    assert all(file.stat().st_mode & 0o222 == 0 for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("amplify-test:cpu-1", "does not name an image"),
        (f"{REGISTRY}/amplify-test", "does not name an image"),
        (f"{REGISTRY}/amplify-test@sha256:12", "does not name an image"),
        (f"{REGISTRY}/amplify-test@sha256:{'0' * 64}", "no image with this digest"),
        (f"{REGISTRY}/amplify-test:latest", "no image with this tag"),
        (f"{REGISTRY}/amplify-test:cpu-{'0' * 64}", "Deploying the training stack starts its build"),
        (f"{REGISTRY}/nowhere:cpu-{'0' * 64}", "repository with name 'nowhere' does not exist"),
        (f"{REGISTRY}/nowhere@sha256:{'0' * 64}", "repository with name 'nowhere' does not exist"),
        (f"210987654321.dkr.ecr.{REGION}.amazonaws.com/amplify-test:cpu-{'0' * 64}", "copy the image there first"),
        (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/amplify-test:cpu-{'0' * 64}", "copy the image there first"),
    ],
)
def test_an_image_that_cannot_be_had_is_refused_with_what_is_missing(registry, uri, message):
    with pytest.raises(ImageError, match=message):
        images.resolve(uri, ACCOUNT, REGION)


@pytest.mark.parametrize(
    ("tag", "bundle", "message"),
    [
        ("latest", "any.zip", "tags are <cpu or gpu>-<SHA-256 of the code bundle>"),
        (f"cpu-{'0' * 64}", "missing.zip", r"missing\.zip cannot be read \(NoSuchKey\)"),
    ],
)
def test_what_cannot_be_fetched_is_not_built(registry, tag, bundle, message):
    with pytest.raises(ImageError, match=message):
        images.fetch(f"{REGISTRY}/amplify-test:{tag}", f"s3://{ASSETS}/{bundle}", ACCOUNT, REGION)


def test_an_image_is_pushed_by_its_tag_only(registry):
    with pytest.raises(ImageError, match="does not name an image by its tag"):
        images.push(f"{REGISTRY}/amplify-test@sha256:{'0' * 64}", ACCOUNT, REGION)


def test_a_bundle_that_is_not_what_its_name_says_is_refused(registry, bundle, aws):
    with pytest.raises(ImageError, match=f"was changed: its SHA-256 is {hashlib.sha256(bundle).hexdigest()}"):
        registry(bundle, sha256="1" * 64)
    found = aws("ecr").batch_get_image(repositoryName="amplify-test", imageIds=[{"imageTag": f"cpu-{'1' * 64}"}])
    assert found["images"] == []


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({**FILES, "../outside.py": b""}), r"'\.\./outside\.py', which is no file below its own folder"),
        (zipped({**FILES, "/etc/outside": b""}), "'/etc/outside', which is no file below"),
        (zipped([*FILES.items(), (link("model"), b"/etc/passwd")]), "'model', which is no file below"),
        (zipped({"model_code/launch.py": b""}), r"no launch\.py"),
        (b"no zip at all", "is no zip file"),
    ],
)
def test_a_bundle_that_could_do_harm_or_cannot_run_is_refused_and_leaves_nothing(registry, inside, content, message):
    with pytest.raises(ImageError, match=message):
        images.resolve(registry(content), ACCOUNT, REGION)
    assert not (inside.images / hashlib.sha256(content).hexdigest()).exists()
    assert not (inside.folder / "outside.py").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_bundle_that_holds_a_file_twice_is_refused(registry):
    with pytest.raises(ImageError, match="holds a file twice"):
        images.resolve(registry(zipped([*FILES.items(), ("launch.py", b"print('the other')")])), ACCOUNT, REGION)


def test_a_bundle_that_would_fill_the_disk_is_refused_before_it_is_unpacked(registry, bundle, monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 10)
    with pytest.raises(ImageError, match=r"would unpack to \d+ bytes"):
        images.resolve(registry(bundle), ACCOUNT, REGION)


def test_an_image_that_somebody_else_pushed_is_refused(registry, aws):
    aws("ecr").create_repository(repositoryName="foreign")
    aws("ecr").put_image(repositoryName="foreign", imageManifest='{"layers": []}', imageTag="latest")
    with pytest.raises(ImageError, match="is not an image of a code bundle"):
        images.resolve(f"{REGISTRY}/foreign:latest", ACCOUNT, REGION)


def test_the_bundle_of_model_code_as_the_stacks_make_it_is_an_image(registry):
    content = archive(Path(images.__file__).parent.parent / "model_code")
    image = images.resolve(registry(content), ACCOUNT, REGION)
    assert (image.folder / "amplify_lm").is_dir()
    assert os.access(image.folder / "launch.py", os.R_OK)
