"""`make resume KILLS=20 SEED=1`: a real run, killed at random moments, against the same run left alone.

Every kill is at a random time of a process that goes on from the last one's checkpoint: SIGKILL, SIGTERM as before a
spot interruption, or SIGKILL at the very moment a checkpoint is half on the disk. Then the run is left to finish, and
has to leave the same bytes. Then the next run begins. The last line counts: `kills 20 identical 20`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import prepare
from amplify_lm import resume
from amplify_lm.container import Container
from amplify_lm.settings import read_recipe

MODEL_CODE = Path(prepare.__file__).parent
KILLS_A_RUN = 4
LONGEST = 300.0  # seconds, of a run that nobody disturbs
STEPS = {"steps": 200, "decay_steps": 200, "checkpoint_every": 4}  # more of the time in steps than in imports
HOW = ("SIGKILL", "SIGTERM", "SIGKILL in the midst of a checkpoint")


def make_dataset(folder: Path) -> Path:
    """Proteins with something to learn: a few motifs, one after the other."""
    chance = random.Random(0)
    sequences = [
        "".join(chance.choice(["LAG", "VSE", "RTID"]) for _ in range(chance.randint(5, 40))) for _ in range(200)
    ]
    (folder / "proteins").mkdir(parents=True)
    (folder / "proteins" / "a.fasta").write_text("".join(f">{i}\n{one}\n" for i, one in enumerate(sequences)))
    prepare.prepare(folder / "proteins", folder / "dataset", read_recipe("tiny"))
    return folder / "dataset"


def make_job(folder: Path, dataset: Path) -> Container:
    """A job's folder as SageMaker lays it out, for the recipe `tiny` from scratch."""
    (folder / "input" / "config").mkdir(parents=True)
    (folder / "input" / "data" / "init").mkdir(parents=True)
    (folder / "input" / "data" / "train").symlink_to(dataset)
    (folder / "input" / "data" / "init" / "init.json").write_text('{"init": "scratch"}')
    hyperparameters = {"recipe": "tiny", "overrides": json.dumps(STEPS)}
    (folder / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return Container(folder)


def command(processes: int) -> list[str]:
    """One process, or torchrun with several."""
    if processes == 1:
        return [sys.executable, "-u", str(MODEL_CODE / "launch.py"), "train"]
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*runner, "--shutdown-timeout=60", str(MODEL_CODE / "train.py")]


def launch(box: Container, processes: int = 1) -> "subprocess.Popen[bytes]":
    """Start the job's program in a group of its own; its output goes to a file of the job."""
    with (box.base / "log").open("ab") as log:
        return subprocess.Popen(
            command(processes),
            env=os.environ | {"SAGEMAKER_BASE_DIR": str(box.base), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_and_kill(box: Container, process: "subprocess.Popen[bytes]", how: str, seconds: float) -> bool:
    """Kill the process after so many seconds, in the way that is asked for; whether it was still running."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    if how == HOW[2]:
        partial = box.checkpoints / resume.PARTIAL
        while process.poll() is None and not partial.exists():
            time.sleep(0.0002)  # the file is there for a few milliseconds
    if process.poll() is not None:
        return False
    if how == "SIGTERM":
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def finish(box: Container, processes: int) -> bytes:
    """Let the run end; returns its weights. Raises AssertionError with what it printed where it does not."""
    done = launch(box, processes).wait(LONGEST)
    assert done == 0, (box.base / "log").read_text()
    return (box.model / "model.safetensors").read_bytes()


def run(folder: Path, kills: int, seed: int, processes: Sequence[int]) -> tuple[int, int]:
    """Kill so many times, in runs of so many processes by turns; returns kills, and those in runs that ended equal."""
    dataset = make_dataset(folder / "data")
    untouched, seconds = {}, {}
    for count in set(processes):
        began = time.monotonic()
        untouched[count] = finish(make_job(folder / f"untouched-{count}", dataset), count)
        seconds[count] = time.monotonic() - began
    chance, done, identical, number = random.Random(seed), 0, 0, 0
    while done < kills:
        count = processes[number % len(processes)]
        box = make_job(folder / f"run-{number}", dataset)
        number, here = number + 1, 0
        while here < min(KILLS_A_RUN, kills - done):
            how = chance.choice(HOW)
            after = chance.uniform(0, 1.1 * seconds[count])
            if (box.model / "model.safetensors").exists() or not wait_and_kill(box, launch(box, count), how, after):
                break  # it was quicker than the kill
            here += 1
            at = max((int(path.name[5:13]) for path in box.checkpoints.glob("step-*")), default=0)
            print(
                f"kill {done + here}: {how}, after {after:.2f} s, {count} process(es); checkpoint of step {at}",
                flush=True,
            )
        same = finish(box, count) == untouched[count]
        print(f"run {number}: {here} kills, {'identical' if same else 'DIFFERENT'}", flush=True)
        done += here
        identical += here if same else 0
    return done, identical


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every run that was killed left the bytes of the run that was not."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="amplify-resume-") as folder:
        kills, identical = run(Path(folder), given.kills, given.seed, processes=(1, 2))
    print(f"kills {kills} identical {identical}")
    return 0 if identical == kills >= given.kills else 1


if __name__ == "__main__":
    sys.exit(main())
