"""Checkpoints in S3, a real server on this machine: they load like the folders and archives that they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, save_model
from amplify_lm.model import Amplify

from tests.model import checkpoints, s3_server
from tests.model import reference_cases as cases


@pytest.fixture(scope="module")
def model() -> Amplify:
    return cases.model(cases.CASES["published"])


def assert_same_weights(loaded: Amplify, model: Amplify) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def refusal(source: str) -> str:
    with pytest.raises(CheckpointError) as error:
        load_model(source)
    assert str(error.value).startswith(f"{source}: ")
    return str(error.value)


@pytest.fixture(scope="module")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server.serve(tmp_path_factory.mktemp("ministack")) as environment:
        yield environment


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client, and the environment in which the code under test finds the same server."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="weights")
    return client


def upload(s3: Any, folder: Path, prefix: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            s3.upload_file(str(file), "weights", f"{prefix}{file.relative_to(folder).as_posix()}")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_in_s3_loads_like_the_folder(s3: Any, tmp_path: Path, model: Amplify, slash: str) -> None:
    save_model(model, tmp_path)
    upload(s3, tmp_path, "ours/")
    assert_same_weights(load_model(f"s3://weights/ours{slash}"), model)


def test_shards_in_s3_load_as_one(s3: Any, tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path, model)
    upload(s3, tmp_path, "sharded/")
    assert_same_weights(load_model("s3://weights/sharded/"), model)


def test_a_mila_run_in_s3_loads_without_fetching_its_optimiser(s3: Any, tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path, model, "checkpoints/checkpoint_4/model.safetensors")
    upload(s3, tmp_path, "mila/")
    # Cold storage stands for everything that must not be touched: fetching it fails.
    s3.put_object(
        Bucket="weights", Key="mila/checkpoints/checkpoint_4/optimizer.bin", Body=b"x", StorageClass="GLACIER"
    )
    assert_same_weights(load_model("s3://weights/mila/"), model)


def test_an_archive_in_s3_loads_like_its_folder(s3: Any, tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "model")
    checkpoints.write_archive(tmp_path / "model.tar.gz", tmp_path / "model")
    s3.upload_file(str(tmp_path / "model.tar.gz"), "weights", "run/output/model.tar.gz")
    assert_same_weights(load_model("s3://weights/run/output/model.tar.gz"), model)


def test_what_s3_does_not_have_is_told_in_its_words(s3: Any) -> None:
    assert "no objects below this prefix" in refusal("s3://weights/nothing/")
    assert "NoSuchBucket" in refusal("s3://no-such-bucket/model/")
    assert "404" in refusal("s3://weights/none/model.tar.gz")
    assert "wanted s3://<bucket>/<prefix>/" in refusal("s3://")


def test_s3_that_cannot_be_reached_is_told(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9' in refusal("s3://weights/ours/")
