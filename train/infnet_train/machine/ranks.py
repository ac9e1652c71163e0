"""Several processes that train as one: how they meet, their shares of a batch, and their means.

Started by ``torchrun``, which tells each process its place in environment variables. A batch is split over
the ranks; with the loss of each weighted by its share and with statistics over all of them (see
:mod:`~infnet_train.machine.normalisation`), the gradient is that of the whole batch in one process. A rank
without a slice takes part with an empty batch.
"""

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from infnet_runtime.errors import BackendError, ModelError
from infnet_train.machine.device import choose_device
from infnet_train.machine.normalisation import synchronise_normalisation

# The others wait that long while the first rank reads data or validates.
_PATIENCE = timedelta(hours=1)
_LAUNCHER_SETS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them.

    Parameters
    ----------
    rank
        This process; 0 writes files and validates.
    count
        Number of processes.
    device
        Of this process.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes files, logs and validates."""
        return self.rank == 0

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    def share(self, slices: int) -> range:
        """Which slices of a batch this rank has: the first may have one more, the last may have none."""
        start, stop = (-(-slices * rank // self.count) for rank in (self.rank, self.rank + 1))
        return range(start, stop)

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.count > 1:
            distributed.barrier()

    def connect(self, model: nn.Module) -> nn.Module:
        """Return what is called in training: the model, or one that averages gradients over the ranks.

        The normalisations inside ``model`` are replaced; names and tensors of its state stay.
        """
        if self.count == 1:
            return model
        if self.on_gpu:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        else:
            synchronise_normalisation(model)
        devices = [torch.device(self.device)] if self.on_gpu else None
        # Statistics are equal on all ranks already.
        return DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)

    def mean_over_slices(self, values: Tensor, own: int, total: int) -> Tensor:
        """Mean over a batch of values that are means over the ``own`` of its ``total`` slices."""
        if self.count == 1:
            return values
        weighted = values.detach() * (own / total) if own else torch.zeros_like(values)
        distributed.all_reduce(weighted)
        return weighted

    def check_same_step(self, step: int) -> None:
        """Refuse ranks that start at different steps.

        Raises
        ------
        ModelError
            If this rank has not found the checkpoint that the first has.
        """
        if self.count == 1:
            return
        first = torch.tensor(step, device=self.device)
        distributed.broadcast(first, src=0)
        if int(first) != step:
            raise ModelError(
                f"rank {self.rank} starts at step {step}, the first at {int(first)}; give an output folder "
                "that all machines see",
                code=4004,
            )


@contextmanager
def join(device: str) -> Iterator[Ranks]:
    """Join the other processes if ``torchrun`` started several, else be alone.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``cuda:N``; of several processes each takes the GPU of its local rank.

    Raises
    ------
    BackendError
        If the launcher has not said where the others are, the device is not there for each of them, or they
        have met for another kind of device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device=device)
        return
    missing = [name for name in _LAUNCHER_SETS if name not in os.environ]
    if missing:
        raise BackendError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} are not set; start several processes with "
            "torchrun, or unset WORLD_SIZE",
            code=5001,
        )
    if device.startswith("cuda:"):
        raise BackendError(
            f"device '{device}' was asked for by each of {count} processes; choose cuda, and each takes the "
            "GPU of its local rank",
            code=5002,
        )
    options: dict[str, Any] = {"backend": "gloo"}
    if device == "cuda":
        device = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
        options = {"backend": "nccl", "device_id": torch.device(device)}
    _meet(options)
    ranks = Ranks(distributed.get_rank(), count, device)
    try:
        yield ranks
        ranks.wait()  # only after a success: others may wait for a rank that failed
    except BaseException:
        atexit.unregister(_part)  # parting politely from ranks that wait can hang
        raise


def _meet(options: dict[str, Any]) -> None:
    """Make the group of all processes, one for the life of this process, for all stages of a recipe.

    A group must not end while a network of :meth:`Ranks.connect` lives: the network, as its last owner, would
    wait with Python's lock for a thread of the group that needs the lock (PyTorch 2.13). Making a group for
    each stage, two processes of a recipe were seen to stand still for ever.
    """
    if distributed.is_initialized():
        if distributed.get_backend() != options["backend"]:
            raise BackendError(
                f"the processes have met through {distributed.get_backend()}, and this stage needs "
                f"{options['backend']}; train all stages of a process on one kind of device",
                code=5002,
            )
        return
    distributed.init_process_group(timeout=_PATIENCE, **options)
    atexit.register(_part)


def _part() -> None:
    """Leave the group when the process ends."""
    gc.collect()  # networks that are in circles
    distributed.destroy_process_group()
