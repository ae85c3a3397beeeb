"""The hosts of a job: on AWS one machine each, here one container each, in a folder that stands for its own /opt/ml.

SageMaker calls them algo-1, algo-2, …, and the network of a job resolves these names. Nothing on this machine does, and
writing into its /etc/hosts is not ours to do. So in resourceconfig.json they have names that every machine resolves to
itself, each another one: localhost, 127.0.0.2, 127.0.0.3, … Logs, metrics and failures call them as AWS does.
"""

import os
import random
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from local_aws.settings import HOST

MOST_HOSTS = 8  # they share this machine's cores and memory
LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
PORTS = range(12_000, 20_000)  # below those of outgoing connections, and of local AWS itself


@dataclass(frozen=True, kw_only=True)
class Host:
    """One of the `count` hosts of a job."""

    number: int
    """From 1 on."""
    count: int
    folder: Path
    """What SAGEMAKER_BASE_DIR names there."""

    @property
    def name(self) -> str:
        """What AWS calls it."""
        return f"algo-{self.number}"

    @property
    def share(self) -> tuple[int, int]:
        """(its place from 0 on, of how many): which objects it gets of a sharded channel."""
        return self.number - 1, self.count

    def resources(self, instance_type: str) -> dict[str, object]:
        """The content of its resourceconfig.json."""
        every = addresses(self.count)
        group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": every}
        return {
            "current_host": every[self.number - 1],
            "hosts": every,
            "current_instance_type": instance_type,
            "current_group_name": "homogeneousCluster",
            "instance_groups": [group],
            "network_interface_name": LOOPBACK,
        }


def hosts_of(folder: Path, count: int) -> list[Host]:
    """The hosts of the job in `folder`."""
    return [Host(number=number, count=count, folder=folder / f"algo-{number}") for number in range(1, count + 1)]


def addresses(count: int) -> list[str]:
    """A name for each host, in order. The first is where the others meet it: reachable on every system.

    >>> addresses(3)
    ['localhost', '127.0.0.2', '127.0.0.3']
    """
    return ["localhost", *(f"127.0.0.{number}" for number in range(2, count + 1))]


def shared_machine(count: int) -> dict[str, str]:
    """What the containers of a job have to know because its `count` hosts are one machine: a port that no other job
    meets at, and their part of the cores."""
    if count == 1:
        return {}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {"MASTER_PORT": str(_free_port()), "OMP_NUM_THREADS": str(max(1, cores // count))}


def _free_port() -> int:
    """A port on which nothing listens; random, so that two jobs that start at once hardly ever get the same."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port is free on {HOST}")
