"""Training as the container runs it: whole runs of the tiny recipe, killed, resumed, stopped, shared out."""

import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prepare
import pytest
import torch
import train
from amplify_lm import checkpoint, resume
from amplify_lm.container import Container
from amplify_lm.dataset import DatasetError
from amplify_lm.distributed import Processes
from amplify_lm.metrics import parse_metric_line
from amplify_lm.settings import SettingsError, read_recipe

MODEL_CODE = Path(__file__).parents[2] / "model_code"
ONE = Processes(0, 1, torch.device("cpu"))


class NoSignal(train.StopSignal):
    """Training in this process must not take the test runner's signal handler."""

    def __init__(self, requested: bool = False) -> None:
        self.requested = requested


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The tiny model is faster so, and other tests run beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Proteins with something to learn: a few letters, each often followed by one and the same."""
    chance = random.Random(0)
    sequences = [
        "".join(chance.choice(["LAG", "VSE", "RTID"]) for _ in range(chance.randint(5, 40))) for _ in range(200)
    ]
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "proteins").mkdir()
    (folder / "proteins" / "a.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(sequences)))
    (folder / "dataset").mkdir()
    prepare.prepare(folder / "proteins", folder / "dataset", read_recipe("tiny"))
    return folder / "dataset"


def make_job(folder: Path, dataset: Path, **overrides: object) -> Container:
    """A job's folder as SageMaker lays it out."""
    (folder / "input" / "config").mkdir(parents=True)
    (folder / "input" / "data" / "init").mkdir(parents=True)
    (folder / "input" / "data" / "train").symlink_to(dataset)
    (folder / "input" / "data" / "init" / "init.json").write_text('{"init": "scratch"}')
    hyperparameters = {"recipe": "tiny", "overrides": json.dumps(overrides)}
    (folder / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return Container(folder)


def launch(box: Container, processes: int = 1) -> "subprocess.Popen[str]":
    program = [sys.executable, "-u", str(MODEL_CODE / "launch.py"), "train"]
    if processes > 1:
        program = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        program += [str(MODEL_CODE / "train.py")]
    return subprocess.Popen(
        program,
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(box.base), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_until(process: "subprocess.Popen[str]", words: str) -> None:
    """Read the process's output until a line holds these words."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return
    raise AssertionError(f"ended without {words!r}: {''.join(lines)}")


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def weights(box: Container) -> bytes:
    return (box.model / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def never_killed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Container, str]:
    box = make_job(tmp_path_factory.mktemp("whole"), dataset)
    return box, finish(launch(box))


def test_a_run_learns_and_leaves_the_whole_artefact(never_killed: tuple[Container, str], dataset: Path) -> None:
    box, output = never_killed
    points = [point for line in output.splitlines() if (point := parse_metric_line(line))]
    losses = [point["train_loss"] for point in points if "train_loss" in point]
    assert losses[-1] < losses[0] - 0.3
    assert [point["step"] for point in points if "validation_loss" in point] == [20, 40]
    assert {path.name for path in box.model.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "recipe.json", "metrics.json",
        "manifest.json",
    }  # fmt: skip
    checkpoint.load_model(box.model)
    assert json.loads((box.model / "recipe.json").read_text()) == read_recipe("tiny").to_dict()
    assert (box.model / "manifest.json").read_bytes() == (dataset / "manifest.json").read_bytes()
    record = json.loads((box.model / "metrics.json").read_text())
    assert record["totals"]["steps"] == 40
    assert len(record["curve"]) == len(points)


def test_killed_and_resumed_is_bit_for_bit_never_killed(
    never_killed: tuple[Container, str], dataset: Path, tmp_path: Path
) -> None:
    box = make_job(tmp_path, dataset)
    for words in ("step=10 ", "step=25 "):
        process = launch(box)
        run_until(process, words)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert "[train] resuming at step" in finish(launch(box))
    assert weights(box) == weights(never_killed[0])
    curve = [json.loads((b.model / "metrics.json").read_text())["curve"] for b in (box, never_killed[0])]
    assert [[p.get("train_loss"), p.get("validation_loss")] for p in curve[0]] == [
        [p.get("train_loss"), p.get("validation_loss")] for p in curve[1]
    ]


def test_a_stop_signal_saves_and_leaves_and_the_run_goes_on_later(
    never_killed: tuple[Container, str], dataset: Path, tmp_path: Path
) -> None:
    box = make_job(tmp_path, dataset, checkpoint_every=1000)
    process = launch(box)
    run_until(process, "step=5 ")
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "stopped by a signal after step" in output
    assert len(list(box.checkpoints.glob("step-*"))) == 1
    assert not box.model.exists()
    assert not box.output.exists()
    finish(launch(box))
    assert weights(box) == weights(never_killed[0])


def test_two_processes_train_the_same_model_as_one(
    never_killed: tuple[Container, str], dataset: Path, tmp_path: Path
) -> None:
    """Same proteins, windows and masks; the sums differ in their last bits only."""
    box = make_job(tmp_path, dataset)
    assert "2 processes on cpu" in finish(launch(box, processes=2))
    curves = [json.loads((b.model / "metrics.json").read_text())["curve"] for b in (box, never_killed[0])]
    for key in ("train_loss", "validation_loss"):
        two, one = ([point[key] for point in curve if key in point] for curve in curves)
        assert two == pytest.approx(one, abs=1e-3)


def test_a_run_goes_on_with_another_number_of_processes(
    never_killed: tuple[Container, str], dataset: Path, tmp_path: Path
) -> None:
    box = make_job(tmp_path, dataset)
    process = launch(box)
    run_until(process, "checkpoint step-00000015")
    process.kill()
    process.communicate()
    output = finish(launch(box, processes=2))
    assert re.search(r"resuming at step (15|2\d|3\d)", output)
    assert "2 processes on cpu" in output
    curves = [json.loads((b.model / "metrics.json").read_text())["curve"] for b in (box, never_killed[0])]
    assert [point["step"] for point in curves[0]] == [point["step"] for point in curves[1]]
    for key in ("train_loss", "validation_loss"):
        two, one = ([point[key] for point in curve if key in point] for curve in curves)
        assert two == pytest.approx(one, abs=1e-3)


def test_gradient_accumulation_changes_nothing_but_memory(dataset: Path, tmp_path: Path) -> None:
    losses = []
    for tokens_per_pass in (512, 100):
        box = make_job(tmp_path / str(tokens_per_pass), dataset, steps=5, tokens_per_pass=tokens_per_pass)
        train.train(box, ONE, NoSignal())
        losses.append(json.loads((box.model / "metrics.json").read_text())["curve"][0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_taken(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = make_job(tmp_path, dataset, steps=20)
    train.train(box, ONE, NoSignal())
    whole = weights(box)
    newest = sorted(box.checkpoints.glob("step-*"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    capsys.readouterr()
    train.train(box, ONE, NoSignal())
    output = capsys.readouterr().out
    assert "checkpoint step-00000020" in output
    assert "is damaged" in output
    assert "resuming at step 15" in output
    assert weights(box) == whole


@pytest.mark.parametrize("rest", [b"", b"half a file"])
def test_a_half_written_checkpoint_never_counts(dataset: Path, tmp_path: Path, rest: bytes) -> None:
    box = make_job(tmp_path, dataset, steps=5)
    box.checkpoints.mkdir()
    (box.checkpoints / ".partial-checkpoint").write_bytes(rest)
    (box.checkpoints / f"step-00000004-{'0' * 64}.safetensors").write_bytes(rest)
    train.train(box, ONE, NoSignal())
    assert json.loads((box.model / "metrics.json").read_text())["totals"]["steps"] == 5


def test_the_best_checkpoint_stays_beside_the_newest(dataset: Path, tmp_path: Path) -> None:
    """The learning rate is so high in the end that what was learnt is lost."""
    box = make_job(
        *(tmp_path, dataset), steps=24, checkpoint_every=4, validate_every=4, keep_checkpoints=1,
        learning_rate=0.5, warmup_steps=20, decay_steps=1000,
    )  # fmt: skip
    train.train(box, ONE, NoSignal())
    record = json.loads((box.model / "metrics.json").read_text())
    losses = {point["step"]: point["validation_loss"] for point in record["curve"] if "validation_loss" in point}
    best = min(losses, key=lambda step: losses[step])
    assert best < 24
    assert record["totals"]["best_step"] == best
    assert sorted(path.name[:13] for path in box.checkpoints.iterdir()) == [f"step-{best:08d}", "step-00000024"]


def test_only_the_newest_checkpoints_are_kept(dataset: Path, tmp_path: Path) -> None:
    box = make_job(tmp_path, dataset, steps=12, checkpoint_every=3, keep_checkpoints=2)
    train.train(box, ONE, NoSignal())
    assert sorted(path.name[:13] for path in box.checkpoints.iterdir()) == ["step-00000009", "step-00000012"]


def test_a_checkpoint_of_other_settings_or_data_is_refused(dataset: Path, tmp_path: Path) -> None:
    train.train(make_job(tmp_path / "a", dataset, steps=5), ONE, NoSignal())
    other = make_job(tmp_path / "b", dataset, steps=5, learning_rate=0.5)
    other.checkpoints.symlink_to(tmp_path / "a" / "checkpoints")
    with pytest.raises(SettingsError, match=r"of a different run: learning_rate was 0\.01, now 0\.5"):
        train.train(other, ONE, NoSignal())


def test_how_often_to_log_may_change_between_interruption_and_resume(dataset: Path, tmp_path: Path) -> None:
    train.train(make_job(tmp_path / "a", dataset, steps=10), ONE, NoSignal(requested=True))
    other = make_job(tmp_path / "b", dataset, steps=10, log_every=1, checkpoint_every=2)
    other.checkpoints.symlink_to(tmp_path / "a" / "checkpoints")
    train.train(other, ONE, NoSignal())
    assert (other.model / "model.safetensors").is_file()


def test_a_diverging_run_ends_with_advice_and_keeps_its_good_checkpoints(dataset: Path, tmp_path: Path) -> None:
    box = make_job(tmp_path, dataset, steps=20)
    model = checkpoint.Amplify(read_recipe("tiny").model_config())
    with torch.no_grad():
        model.decoder.weight.fill_(1e38)
    checkpoint.save_model(model, box.channel("init"))
    (box.channel("init") / "init.json").write_text('{"init": "s3://somewhere"}')
    with pytest.raises(train.DivergedError, match=r"10 steps before step 10 had no finite gradient.*learning_rate"):
        train.train(box, ONE, NoSignal())
    kept = resume.newest(box.checkpoints)
    assert kept is not None
    assert (resume.read_progress(kept).step, resume.read_progress(kept).skipped) == (5, 5)


def test_a_step_without_a_finite_gradient_changes_nothing_and_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, calls = torch.nn.utils.clip_grad_norm_, 0

    def clip_and_spoil_the_seventh(parameters: Any, *given: Any, **more: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        parameters = list(parameters)
        if calls == 7:
            parameters[0].grad[0] = float("nan")
        return clip(parameters, *given, **more)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip_and_spoil_the_seventh)
    box = make_job(tmp_path, dataset, steps=20)
    train.train(box, ONE, NoSignal())
    assert "1 of the steps up to 10 had no finite gradient; skipped" in capsys.readouterr().out
    record = json.loads((box.model / "metrics.json").read_text())
    assert record["totals"]["skipped_steps"] == 1
    losses = [point["train_loss"] for point in record["curve"] if "train_loss" in point]
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)


def test_a_disk_without_room_ends_the_run_with_what_to_do_and_the_checkpoint_before_stays(
    dataset: Path, tmp_path: Path
) -> None:
    box = make_job(tmp_path, dataset, checkpoint_every=5)
    first = launch(box)
    run_until(first, "checkpoint step-00000005")
    first.kill()
    first.communicate()
    room = max(path.stat().st_size for path in box.checkpoints.glob("step-*")) // 2
    done = subprocess.run(
        [sys.executable, str(MODEL_CODE / "launch.py"), "train"],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(box.base), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert re.search(r"checkpoint of step \d+ cannot be written to .*make room there", done.stderr)
    assert "Traceback" not in done.stderr
    assert (kept := resume.newest(box.checkpoints)) is not None
    assert resume.read_progress(kept).step >= 5


def test_a_run_begins_with_the_weights_of_its_init_channel(dataset: Path, tmp_path: Path) -> None:
    first = make_job(tmp_path / "a", dataset, steps=40)
    train.train(first, ONE, NoSignal())
    second = make_job(tmp_path / "b", dataset, steps=1, learning_rate=1e-8, log_every=1)
    for path in first.model.iterdir():
        (second.channel("init") / path.name).write_bytes(path.read_bytes())
    (second.channel("init") / "init.json").write_text('{"init": "s3://somewhere"}')
    train.train(second, ONE, NoSignal())
    ends = [
        json.loads((box.model / "metrics.json").read_text())["curve"][-1]["validation_loss"] for box in (first, second)
    ]
    assert ends[1] == pytest.approx(ends[0], abs=1e-4)


def test_a_dataset_that_lost_a_shard_is_refused(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "dataset")
    (tmp_path / "dataset" / "validation" / "shard-00000.tokens").unlink()
    with pytest.raises(DatasetError, match=r"shard-00000\.tokens is missing"):
        train.train(make_job(tmp_path / "job", tmp_path / "dataset"), ONE, NoSignal())


def test_a_job_without_its_channel_is_told_which(tmp_path: Path, dataset: Path) -> None:
    box = make_job(tmp_path, dataset)
    (tmp_path / "input" / "data" / "train").unlink()
    with pytest.raises(SettingsError, match="channel 'train' is missing"):
        train.train(box, ONE, NoSignal())


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [({}, "'recipe' is missing"), ({"recipe": "tiny", "learning_rate": "0.1"}, "learning_rate would not be read")],
)
def test_hyperparameters_that_nothing_would_read_are_refused(hyperparameters: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=f"{message}.*settings of a recipe go into overrides"):
        train.recipe_of(hyperparameters)
