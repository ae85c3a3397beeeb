"""Checkpoints from elsewhere: S3 (a real server on this machine), the Hub's cache, and downloads from the Hub."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, read_source, save_model
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify

from tests.model import checkpoints, hub_server, s3_server
from tests.model import reference_cases as cases

ROOT = Path(__file__).parents[2]


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


# ---- S3 ------------------------------------------------------------------------------------------------------------


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


# ---- Hugging Face Hub ----------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to the network."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(cache: Path, tmp_path: Path, model: Amplify) -> str:
    """The commit of test/tiny in the cache."""
    save_model(model, tmp_path / "hub")
    return checkpoints.fill_hub_cache(cache, "test/tiny", tmp_path / "hub")


def load_in_another_process(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """huggingface_hub reads its environment when it is imported: a fresh interpreter for each."""
    program = (
        "import sys; from amplify_lm.checkpoint import read_source, CheckpointError\n"
        "try:\n    print(read_source(sys.argv[1]).source)\nexcept CheckpointError as error:\n    sys.exit(str(error))"
    )
    settings = {"PYTHONPATH": str(ROOT / "model_code"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    return subprocess.run(
        [sys.executable, "-c", program, source], env=os.environ | settings, capture_output=True, text=True, timeout=120
    )


def test_a_commit_in_the_cache_needs_no_network_and_no_hub_library(
    filled: str, model: Amplify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it fails
    assert_same_weights(load_model(f"hf:test/tiny@{filled}"), model)
    assert read_source(f"hf:test/tiny@{filled[:8]}").source == f"hf:test/tiny@{filled}"


@pytest.mark.parametrize("suffix", ["", "@main"])
def test_a_branch_in_the_cache_serves_where_there_is_no_network_and_is_pinned(filled: str, suffix: str) -> None:
    result = load_in_another_process(f"hf:test/tiny{suffix}", HF_HUB_OFFLINE="1")
    assert result.stdout.strip() == f"hf:test/tiny@{filled}", result.stderr


def test_a_cached_file_that_was_changed_is_refused(filled: str, cache: Path, model: Amplify) -> None:
    weights = next(cache.rglob("snapshots/*/model.safetensors")).resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors is not what the Hub published" in refusal(f"hf:test/tiny@{filled}")


def test_a_changed_configuration_in_the_cache_is_refused(filled: str, cache: Path) -> None:
    config = next(cache.rglob("snapshots/*/config.json")).resolve()
    config.write_text(json.dumps(json.loads(config.read_text()) | {"norm_eps": 1e-6}))
    assert "config.json is not what the Hub published" in refusal(f"hf:test/tiny@{filled}")


def test_a_cache_copied_without_its_links_still_loads(filled: str, cache: Path, tmp_path: Path, model: Amplify) -> None:
    shutil.copytree(cache, tmp_path / "plain", symlinks=False)
    shutil.rmtree(cache)
    (tmp_path / "plain").rename(cache)
    assert_same_weights(load_model(f"hf:test/tiny@{filled}"), model)


def test_what_is_neither_cached_nor_reachable_says_where_it_looked(cache: Path) -> None:
    result = load_in_another_process("hf:test/tiny@main", HF_HUB_OFFLINE="1")
    assert result.returncode == 1
    assert f"hf:test/tiny@main: neither in the cache {cache} nor to be had from the Hub" in result.stderr


def test_without_the_hub_library_the_message_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "downloading needs the package huggingface_hub" in refusal("hf:test/tiny@main")


@pytest.mark.parametrize("source", ["hf:", "hf:tiny", "hf:a/b/c", "hf:../../etc@main"])
def test_a_name_that_is_no_repository_is_refused(source: str) -> None:
    assert "wanted hf:<owner>/<name>@<revision>" in refusal(source)


def test_a_download_is_pinned_verified_and_not_repeated(cache: Path, tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "hub")
    (tmp_path / "hub" / "amplify.py").write_text("raise SystemExit('remote code')")
    with hub_server.serve(tmp_path / "hub") as hub:
        first = load_in_another_process("hf:test/tiny@main", HF_ENDPOINT=hub.url)
        assert first.stdout.strip() == f"hf:test/tiny@{hub_server.COMMIT}", first.stderr
        assert not any("amplify.py" in request for request in hub.requests)
        downloads = len(hub.requests)
        again = load_in_another_process(first.stdout.strip(), HF_ENDPOINT=hub.url)
        assert again.stdout == first.stdout
        assert len(hub.requests) == downloads
    assert_same_weights(load_model(first.stdout.strip()), model)


def test_a_download_broken_off_goes_on_where_it_stopped(cache: Path, tmp_path: Path) -> None:
    # 25 MB: the library writes to disk by tens of megabytes, and can only go on from what it has written.
    large = ModelConfig(hidden_size=512, num_hidden_layers=2, num_attention_heads=8, intermediate_size=2048)
    save_model(Amplify(large), tmp_path / "hub")
    with hub_server.serve(tmp_path / "hub") as hub:
        hub.break_off_after = 12 * 2**20
        result = load_in_another_process("hf:test/tiny@main", HF_ENDPOINT=hub.url)
        if result.returncode:  # the library may give up on the first try; the second must not start anew
            result = load_in_another_process("hf:test/tiny@main", HF_ENDPOINT=hub.url)
    assert result.returncode == 0, result.stderr
    assert len(hub.ranges) == 1
    assert int(hub.ranges[0].removeprefix("bytes=").removesuffix("-")) >= 10 * 10**6


def test_a_repository_that_does_not_exist_is_refused(cache: Path, tmp_path: Path) -> None:
    with hub_server.serve(tmp_path) as hub:
        result = load_in_another_process("hf:test/other@main", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "hf:test/other@main: neither in the cache" in result.stderr
