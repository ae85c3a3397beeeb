"""Weights that others trained: a run begins with them, and an endpoint serves them without any training.

The model that the project trained is laid out as the Mila group's trainer leaves a run, as a folder of Hugging Face's
in two shards, and as a download in the Hub's cache. Whatever the layout, it is the same model.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from amplify_lm.checkpoint import load_model, save_model

from operate.client import AmplifyClient
from operate.releases import split_uri
from tests.e2e.conftest import Project
from tests.model import checkpoints

pytestmark = pytest.mark.e2e

PROTEIN = "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAANVTKEA"
LAYOUTS = ("Mila run in S3", "Hugging Face folder in S3", "Hugging Face cache")
STANDING_STILL = ["--recipe", "tiny", "--set", "steps=1", "--set", "validate_every=1", "--set", "learning_rate=1e-8"]


@pytest.fixture(scope="module")
def pin(project: Project) -> dict:
    """The release pin of the model that the project trained itself."""
    return json.loads((project.root / "releases" / "local.json").read_text())


@pytest.fixture(scope="module")
def trained(project: Project, pin: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model's folder."""
    archive = tmp_path_factory.mktemp("trained") / "model.tar.gz"
    bucket, key = split_uri(pin["artifact"]["s3_uri"])
    project.aws("s3").download_file(bucket, key, str(archive))
    save_model(load_model(archive), archive.parent / "model")
    return archive.parent / "model"


@pytest.fixture(scope="module", params=LAYOUTS)
def init(
    request: pytest.FixtureRequest, project: Project, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """What `init` is for the model in one of the layouts; uploads go by the command."""
    folder = tmp_path_factory.mktemp("layout") / "weights"
    folder.mkdir()
    model = load_model(trained)
    if request.param == "Hugging Face cache":
        cache = Path(project.environ["HF_HUB_CACHE"])
        return f"hf:lab/trained@{checkpoints.fill_hub_cache(cache, 'lab/trained', trained)}"
    if request.param == "Mila run in S3":
        checkpoints.write_mila(folder, model, "checkpoints/checkpoint_7/model.safetensors")
    else:
        checkpoints.write_sharded(folder, model)
    name = request.param.split()[0].lower()
    return project.amplify("weights", "add", str(folder), "--name", name).strip()


def evaluation_of(project: Project, package: dict) -> dict:
    bucket, key = split_uri(package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])
    return json.loads(project.aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def newest_package(project: Project) -> dict:
    sagemaker = project.aws("sagemaker")
    listed = sagemaker.list_model_packages(
        ModelPackageGroupName="amplify-local", SortBy="CreationTime", SortOrder="Descending"
    )
    return sagemaker.describe_model_package(ModelPackageName=listed["ModelPackageSummaryList"][0]["ModelPackageArn"])


def test_a_run_begins_with_the_loss_at_which_the_checkpoint_ended(project: Project, pin: dict, init: str) -> None:
    project.amplify("train", *STANDING_STILL, "--init", init, "--watch")
    package = newest_package(project)
    assert package["CustomerMetadataProperties"]["init"] == init
    assert evaluation_of(project, package)["loss"] == pytest.approx(pin["evaluation"]["loss"], abs=1e-5)


@pytest.mark.parametrize("form", ["folder", "model.tar.gz"])
def test_a_run_begins_with_weights_that_lie_on_this_machine(
    project: Project, pin: dict, trained: Path, tmp_path: Path, form: str
) -> None:
    place = tmp_path / f"mine-{form}"
    if form == "folder":
        checkpoints.write_mila(place, load_model(trained))
    else:
        checkpoints.write_archive(place, trained)
    project.amplify("train", *STANDING_STILL, "--init", str(place), "--watch")
    package = newest_package(project)
    assert package["CustomerMetadataProperties"]["init"].startswith(
        f"s3://{project.output('storage', 'DataBucketName')}/"
    )
    assert evaluation_of(project, package)["loss"] == pytest.approx(pin["evaluation"]["loss"], abs=1e-5)


def test_a_registered_model_is_released_and_served_without_training(
    project: Project, pin: dict, trained: Path, init: str
) -> None:
    printed = project.amplify("register", init, "--watch")
    assert "parameters" in printed
    package = newest_package(project)
    assert package["CustomerMetadataProperties"]["init"] == init
    # Without a recipe the evaluation cuts proteins at the model's max_length, and not at the window it was trained on.
    assert evaluation_of(project, package)["loss"] == pytest.approx(pin["evaluation"]["loss"], abs=2e-3)
    before = AmplifyClient("amplify-local", runtime=project.aws("sagemaker-runtime")).embed([PROTEIN])

    assert "letter frequencies of the held-out proteins" in project.amplify("approve", "--yes")
    project.amplify("deploy")
    status = json.loads(project.amplify("status", "--json"))
    assert status["served"] == package["ModelPackageArn"] != pin["model_package_arn"]
    after = AmplifyClient("amplify-local", runtime=project.aws("sagemaker-runtime")).embed([PROTEIN])
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_weights_that_are_damaged_are_refused_by_name_before_anything_is_trained_or_registered(
    project: Project, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: -100 if file.suffix == ".safetensors" else None])
    before = newest_package(project)["ModelPackageArn"]
    printed = " ".join(project.amplify("register", str(folder), "--watch", fails=True).split())
    assert "model.safetensors" in printed
    assert "→" in printed
    for init, told in (("hf:lab/nobody", "hf:lab/nobody"), ("./nowhere", "nowhere does not exist")):
        printed = " ".join(project.amplify("train", *STANDING_STILL, "--init", init, "--watch", fails=True).split())
        assert told in printed
    assert newest_package(project)["ModelPackageArn"] == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["weights", "add", "nowhere"], "nowhere does not exist"),
        (["weights", "add", "README.md"], "is no archive"),
        (["weights", "add", "model_code", "--name", "../up"], "is no name for weights"),
    ],
)
def test_what_is_no_checkpoint_is_not_uploaded(project: Project, arguments: list[str], words: str) -> None:
    assert words in " ".join(project.amplify(*arguments, fails=True).split())
