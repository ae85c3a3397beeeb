"""Ranks, devices and what the processes of one run tell each other: one place.

A run of one process makes no process group; every function below then does nothing, so that the training loop reads
the same. Under torchrun (`launch.py` starts it) the group is NCCL on GPUs and gloo on CPUs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .container import PeerGoneError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes files and metric lines."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def share(self, value: T) -> T:
        """The first process's value, for all."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return cast(T, box[0])

    def share_tensors(self, tensors: list[Tensor]) -> None:
        """Overwrite these tensors with the first process's."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def replicate(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes; all begin with the first one's weights."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module, device_ids=[self.device.index] if self.device.type == "cuda" else None)


def unsynchronised(module: nn.Module) -> AbstractContextManager[None]:
    """Leave gradients as they are in each process: for all passes of a step but the last."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the run's processes, as torchrun's environment describes them, and leave them at the end.

    Raises PeerGoneError in place of what the process group says when another process has gone.
    """
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    try:
        if count > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Processes(rank, count, device)
        if count > 1:
            # All leave together: one that ends while another still writes would have torchrun judge the run by it.
            dist.barrier()
    except RuntimeError as error:
        if count == 1 or not tells_of_a_peer(error):
            raise
        said = str(error).splitlines()[0]
        raise PeerGoneError(f"process {rank} of {count}: another process of the run is gone ({said})") from error
    finally:
        if dist.is_initialized():
            # The replicated module refers to itself and to the group; left to the interpreter's last moments, gloo's
            # threads are sometimes torn down first and the process aborts after all its work is done.
            gc.collect()
            dist.destroy_process_group()


def tells_of_a_peer(error: RuntimeError) -> bool:
    """Whether it is the process group that failed: NCCL and the store say so by type, gloo by its source's path."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)
