"""The image's only entry point: `launch.py prepare | train | evaluate | fetch | drift | serve`.

Everything a verb needs comes by the container contract (amplify_lm/container.py, docs/seams.md). `train` runs here
where one process does, and under torchrun, one process for each GPU of each host, where there are more; the
hyper-parameter `script` names another entry point: a script of this bundle, or a file of channel `code`.

Exit codes: 0 done (for training also: stopped by SIGTERM with its checkpoint saved), 1 failed, with one message on
stderr and in the files that SageMaker reads.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

from amplify_lm import container
from amplify_lm.container import Container, Resources
from amplify_lm.settings import SettingsError

BUNDLE = Path(__file__).parent
VERBS = ("prepare", "train", "evaluate", "fetch", "drift", "serve")
SCRIPT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# SageMaker kills what still runs 120 s after its SIGTERM; torchrun would after 30 s, amid a large checkpoint.
SHUTDOWN_SECONDS = 110
# How long torch's CPU threads wait for each other before they yield. The default burns the core that a busy neighbour
# needs, and both stand still (measured: docs/decisions/training.md). Read by libgomp when torch is imported.
SPIN_COUNT = "2000"
# What SageMaker's own toolkit sets on instance types with EFA, the network between their hosts.
EFA_SETTINGS = {"FI_PROVIDER": "efa", "NCCL_PROTO": "simple"}


def main(box: Container) -> None:
    """Dispatch the verb. Verbs are imported when they are asked for: serving needs no training code, and so on."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    verb, *arguments = sys.argv[1:] or [""]
    if verb not in VERBS:
        raise SettingsError(f"verb {verb!r} is unknown; one of {', '.join(VERBS)} is wanted")
    if verb == "train":
        launch_training(box)
    elif verb in ("prepare", "fetch", "drift"):
        importlib.import_module(verb).main(box, arguments)
    else:
        importlib.import_module(verb).main(box)


def launch_training(box: Container) -> None:
    """Run the training script in this process, or in as many as the job has."""
    script = find_script(box)
    resources = box.resources()
    per_host = processes_per_host()
    if per_host * len(resources.hosts) > 1:
        run_torchrun(box, torchrun_command(script, resources, per_host), resources.network_interface)
    elif script.parent == BUNDLE:
        importlib.import_module(script.stem).main(box)
    else:
        sys.argv = [str(script)]
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")


def find_script(box: Container) -> Path:
    """The file that hyper-parameter `script` names (`train` by default): of channel `code`, else of this bundle.

    Raises SettingsError where there is none.
    """
    name = box.hyperparameters().get("script") or "train"
    if not SCRIPT_NAME.fullmatch(name):
        raise SettingsError(f"script is {name!r}; the name of one Python file is wanted, without folders")
    file = f"{name.removesuffix('.py')}.py"
    folders = [box.base / "input" / "data" / "code", BUNDLE]
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise SettingsError(f"script {name!r}: no {file} in channel 'code' ({folders[0]}) or in the bundle")


def processes_per_host() -> int:
    """One process for each GPU; one where there are none (it uses all cores)."""
    import torch

    return max(1, torch.cuda.device_count())


def torchrun_command(script: Path, resources: Resources, per_host: int) -> list[str]:
    """The command that starts this host's processes; SageMaker resolves the hosts' names."""
    rendezvous = ["--standalone"]
    if len(resources.hosts) > 1:
        rendezvous = [
            f"--nnodes={len(resources.hosts)}",
            f"--node-rank={resources.node_rank}",
            f"--master-addr={resources.hosts[0]}",
            f"--master-port={resources.master_port}",
        ]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *rendezvous,
        f"--nproc-per-node={per_host}",
        # A dead process ends the job: SageMaker restarts it, and it goes on from the checkpoint.
        "--max-restarts=0",
        f"--shutdown-timeout={SHUTDOWN_SECONDS}",
        str(script),
    ]


def run_torchrun(box: Container, command: list[str], network_interface: str | None) -> None:
    """Run it to its end, handing SIGTERM on. Raises ChildProcessError where it fails and was not asked to stop."""
    child = subprocess.Popen(command, env=torchrun_environment(dict(os.environ), network_interface))
    stopped = False

    def hand_on(number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        child.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    # torchrun calls a handed-on SIGTERM a failure; the processes themselves have saved and left, or reported.
    if code != 0 and (not stopped or (box.output / "failure").exists()):
        raise ChildProcessError(f"a training process failed (torchrun ended with code {code}); its log says why")


def torchrun_environment(environment: dict[str, str], network_interface: str | None) -> dict[str, str]:
    """The environment of the processes: the bundle importable, and the network that the hosts are joined by."""
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(BUNDLE), environment.get("PYTHONPATH")]))
    defaults = dict(EFA_SETTINGS) if Path("/sys/class/infiniband").exists() else {}
    if network_interface:
        defaults |= {"NCCL_SOCKET_IFNAME": network_interface, "GLOO_SOCKET_IFNAME": network_interface}
    return defaults | environment


if __name__ == "__main__":
    sys.exit(container.run(main))
