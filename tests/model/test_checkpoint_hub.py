"""Checkpoints of the Hugging Face Hub: its cache on this machine, and downloads, broken off and gone on with."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, SourceUnavailableError, load_model, read_source, save_model
from amplify_lm.checkpoint_hub import cache_folder
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify

from tests.model import checkpoints, hub_server
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


LOAD = (
    "import sys; from amplify_lm.checkpoint import read_source, CheckpointError\n"
    "try:\n    print(read_source(sys.argv[1]).source)\nexcept CheckpointError as error:\n    sys.exit(str(error))"
)


def start_loading(source: str, **environment: str) -> subprocess.Popen[str]:
    settings = {"PYTHONPATH": str(ROOT / "model_code"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment}
    command = [sys.executable, "-c", LOAD, source]
    return subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def load_in_another_process(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """huggingface_hub reads its environment when it is imported: a fresh interpreter for each."""
    with start_loading(source, **environment) as loading:
        printed, told = loading.communicate(timeout=120)
    return subprocess.CompletedProcess(loading.args, loading.returncode, printed, told)


def test_a_commit_in_the_cache_needs_no_network_and_no_hub_library(
    filled: str, model: Amplify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it fails
    assert_same_weights(load_model(f"hf:test/tiny@{filled}"), model)
    assert read_source(f"hf:test/tiny@{filled[:8]}").source == f"hf:test/tiny@{filled}"


PLACES: list[dict[str, str]] = [
    {},
    {"XDG_CACHE_HOME": "/xdg"},
    {"XDG_CACHE_HOME": "$HOME/xdg"},
    {"HF_HOME": "/hf"},
    {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/xdg"},
    {"HF_HOME": "${HOME}/hf"},
    {"HUGGINGFACE_HUB_CACHE": "/old"},
    {"HF_HUB_CACHE": "$HOME/hub", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"},
    {"HF_HUB_CACHE": "~/hub/../other"},
]


@pytest.mark.parametrize("places", PLACES, ids=lambda places: ",".join(places) or "none")
def test_the_cache_is_where_the_hub_library_keeps_it(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}
    kept = {name: value for name, value in os.environ.items() if name not in variables}
    program = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    command = [sys.executable, "-c", program]
    theirs = subprocess.run(command, env=kept | places, capture_output=True, text=True, check=True).stdout.strip()
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    # Set to nothing is not set: the library would take the folder it was started in for a cache.
    for name, value in (dict.fromkeys(variables - places.keys(), "") | places).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(theirs)


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


def test_a_cache_whose_blobs_are_links_into_shared_storage_still_loads(
    filled: str, cache: Path, tmp_path: Path, model: Amplify
) -> None:
    (tmp_path / "shared").mkdir()
    for number, blob in enumerate(cache.rglob("blobs/*")):
        blob.rename(tmp_path / "shared" / str(number))
        blob.symlink_to(tmp_path / "shared" / str(number))
    assert_same_weights(load_model(f"hf:test/tiny@{filled}"), model)


def test_a_snapshot_without_its_tokenizer_serves_only_where_the_hub_cannot_be_asked(
    cache: Path, tmp_path: Path, model: Amplify
) -> None:
    save_model(model, tmp_path / "hub")
    source = f"hf:test/tiny@{hub_server.COMMIT}"
    with hub_server.serve(tmp_path / "hub") as hub:
        assert load_in_another_process(source, HF_ENDPOINT=hub.url).returncode == 0
        tokenizer = next(cache.rglob("snapshots/*/tokenizer.json"))
        tokenizer.unlink()
        offline = load_in_another_process(source, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
        assert offline.stdout.strip() == source, offline.stderr
        assert not tokenizer.exists()
        again = load_in_another_process(source, HF_ENDPOINT=hub.url)
        assert again.stdout.strip() == source, again.stderr
        assert tokenizer.exists()


def test_a_snapshot_without_its_weights_is_not_taken_for_whole(
    cache: Path, tmp_path: Path, model: Amplify, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.write_sharded(tmp_path / "hub", model)
    commit = checkpoints.fill_hub_cache(cache, "test/tiny", tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert_same_weights(load_model(f"hf:test/tiny@{commit}"), model)
    for shard in cache.rglob("snapshots/*/model-*.safetensors"):
        shard.unlink()
        assert "not in the cache" in refusal(f"hf:test/tiny@{commit}")


def test_what_is_neither_cached_nor_reachable_says_where_it_looked(cache: Path) -> None:
    result = load_in_another_process("hf:test/tiny@main", HF_HUB_OFFLINE="1")
    assert result.returncode == 1
    assert f"hf:test/tiny@main: neither in the cache {cache} nor to be had from the Hub" in result.stderr


def test_without_the_hub_library_the_message_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "downloading needs the package huggingface_hub" in refusal("hf:test/tiny@main")


def test_only_what_could_not_be_reached_is_unavailable(
    cache: Path, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SourceUnavailableError):
        load_model("hf:test/other@main")
    next(cache.rglob("snapshots/*/config.json")).resolve().write_text("{}")
    with pytest.raises(CheckpointError) as refused:
        load_model(f"hf:test/tiny@{filled}")
    assert not isinstance(refused.value, SourceUnavailableError)


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


def test_a_download_killed_between_its_files_goes_on(cache: Path, tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path / "hub", model)
    source = f"hf:test/tiny@{hub_server.COMMIT}"
    with hub_server.serve(tmp_path / "hub") as hub:
        hub.let_go.clear()  # the small files come, the shards do not
        with start_loading(source, HF_ENDPOINT=hub.url) as loading:
            snapshot = cache / "models--test--tiny" / "snapshots" / hub_server.COMMIT
            small = {"config.json", "tokenizer.json", "model.safetensors.index.json"}
            deadline = time.monotonic() + 60
            try:
                while not small <= {path.name for path in snapshot.glob("*")}:
                    assert loading.poll() is None, "it did not wait for the shards"
                    assert time.monotonic() < deadline, "the small files never came"
                    time.sleep(0.05)
            finally:
                loading.kill()
        hub.let_go.set()
        again = load_in_another_process(source, HF_ENDPOINT=hub.url)
    assert again.stdout.strip() == source, again.stderr
    assert_same_weights(load_model(source), model)


def test_a_repository_that_does_not_exist_is_refused(cache: Path, tmp_path: Path) -> None:
    with hub_server.serve(tmp_path) as hub:
        result = load_in_another_process("hf:test/other@main", HF_ENDPOINT=hub.url)
    assert result.returncode == 1
    assert "hf:test/other@main: neither in the cache" in result.stderr
