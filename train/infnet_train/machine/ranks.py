"""Several processes that train as one: how they meet, their shares of a batch, and their means.

Started by ``torchrun``, which tells each process its place in environment variables. A batch is split over
the ranks; with the loss of each weighted by its share and with statistics over all of them (see
:mod:`~infnet_train.machine.normalisation`), the gradient is that of the whole batch in one process. A rank
without a slice takes part with an empty batch.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from infnet_runtime.errors import BackendError, ModelError
from infnet_train.machine.device import choose_device
from infnet_train.machine.normalisation import synchronise_normalisation

# The others wait that long while the first rank reads data or validates.
_PATIENCE = timedelta(hours=1)
_joined = itertools.count()
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
        If the launcher has not said where the others are, or the device is not there for each of them.
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
    # A recipe joins once for each stage. What the processes told each other for one stage must not be read by
    # the next: without a place of its own each time, two processes were seen to wait for each other for ever.
    store = PrefixStore(f"infnet-{next(_joined)}", _common_store())
    options |= {"rank": int(os.environ["RANK"]), "world_size": count}
    distributed.init_process_group(store=store, timeout=_PATIENCE, **options)
    ranks = Ranks(distributed.get_rank(), count, device)
    yield ranks
    # Only after a success: others may wait for a rank that failed, and leaving them politely can hang.
    ranks.wait()
    distributed.destroy_process_group()


@cache
def _common_store() -> Store:
    """Where the processes find each other; one for the life of this process."""
    store: Store = next(rendezvous("env://", timeout=_PATIENCE))[0]
    return store
