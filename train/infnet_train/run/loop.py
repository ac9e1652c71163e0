"""One training run, from top to bottom.

The paper's recipe (IEEE TMI 2020, section IV-B): Adam, the total loss of section III-E, every batch at three
sizes. Nothing random is carried from step to step (see :mod:`~infnet_train.data.batches`), so that a run
resumed at any step equals the uninterrupted one. Several processes under ``torchrun`` train as one (see
:mod:`~infnet_train.machine.ranks`).
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from infnet_runtime.errors import InfnetError, ModelError
from infnet_runtime.plain import PlainError, from_plain, to_plain
from infnet_train.assess.evaluate import mean_dice
from infnet_train.config.schema import TrainConfig
from infnet_train.data.batch import Batch
from infnet_train.data.batches import Sources, batches, prefetched, steps_per_epoch
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.on_device import DeviceSlices
from infnet_train.errors import ConfigError
from infnet_train.machine.compiled import CompiledOrPlain
from infnet_train.machine.ranks import Ranks, join
from infnet_train.networks import Network, Outputs, build_network
from infnet_train.networks.losses import total_loss
from infnet_train.run.budget import TimeBudget
from infnet_train.run.clock import Clock
from infnet_train.run.monitor import STEPS_BETWEEN_SCALARS, Monitor, loss_parts, open_monitor
from infnet_train.run.optimiser import (
    make_optimiser,
    resume_optimiser,
    update_running_mean,
)
from infnet_train.run.sources import load_slices
from infnet_train.run.speed import Speed
from infnet_train.weights.channels import start_from
from infnet_train.weights.checkpoint import (
    Checkpoint,
    flatten_optimiser,
    read_checkpoint,
    write_checkpoint,
)
from infnet_train.weights.reference import fill_backbone

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
# A checkpoint that takes more than this share of the usual time between two is written less often.
_SAVING_SHARE, _USUAL_S = 0.02, 120.0
_RECENT_STEPS = 50  # for the loss beside the progress bar


@dataclass
class _Run:
    """State that lives as long as the run.

    Parameters
    ----------
    model
        The weights.
    network
        What is called in training: ``model`` itself, or what averages its gradients over the ranks.
    unread
        Losses of the last steps, on the device.
    share
        Of a time budget that is over; 0 without one.
    """

    model: Network
    network: nn.Module
    averaged: Network | None
    optimiser: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]
    epoch_losses: list[float]
    unread: list[Tensor]
    share: float

    def weights(self) -> Network:
        return self.averaged or self.model


def train(
    config: TrainConfig,
    data_root: Path,
    out: Path,
    *,
    device: str = "cpu",
    bf16: bool = False,
    resume: bool = False,
    backbone_weights: Path | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    checkpoint_seconds: float = 120.0,
    augment_on_device: bool = False,
    compiled: bool = False,
    budget_s: float | None = None,
) -> Path:
    """Train a network and return the path of its last weights.

    Writes into ``out``: ``last.safetensors`` (resumable), ``weights.safetensors`` (to export),
    ``best.safetensors`` (best validation Dice), ``curves.csv``, ``speed.json`` and ``tensorboard/``.

    Parameters
    ----------
    bf16
        Convolutions in bfloat16, losses and weights in fp32.
    backbone_weights
        ImageNet weights of Res2Net-50 v1b 26w4s, where the user has the file.
    progress
        Called on the first rank alone.
    cache
        Folder that keeps the prepared slices, for a resume and for other runs.
    checkpoint_seconds
        Within an epoch ``last.safetensors`` is written no more often than this, and less often where writing
        takes long; after each epoch always.
    augment_on_device
        Keep all slices on the device and augment them there.
    compiled
        Let ``torch.compile`` make the network faster, where it works.
    budget_s : s
        Time from the call to the return. The schedule is fitted to it, whatever epochs the recipe says.

    Raises
    ------
    InfnetError
        If data, configuration or checkpoint are refused, or the loss is not finite.
    """
    budget = None if budget_s is None else TimeBudget(budget_s)
    with join(device) as ranks:
        if budget and ranks.count > 1:
            raise ConfigError(
                f"a time budget holds for one process, this run has {ranks.count}; leave --time-budget out",
                code=3101,
            )
        sources, validation = load_slices(config, data_root, ranks, cache=cache, bf16=bf16)
        run = _start(config, ranks, out, backbone_weights, resume=resume)
        if compiled:
            run.network = CompiledOrPlain(run.network)
        clock = Clock(config.schedule, steps_per_epoch(config.batching, sources), budget, run)
        made = batches(
            config.batching,
            config.preprocess,
            sources,
            ranks,
            step=run.step,
            epochs=clock.epochs,
            on_device=_on_device(sources, config, ranks) if augment_on_device else None,
        )
        # What is made on the device is made in time, and a thread would only take the processor away.
        ahead = nullcontext(made) if augment_on_device else prefetched(made)
        saved_at, between_saves_s, speed = time.monotonic(), checkpoint_seconds, Speed()
        with open_monitor(out if ranks.is_first else None, step=run.step) as monitor, ahead as ready:
            run.model.train()
            while not clock.is_over:
                with speed.waiting():
                    batch = next(ready)
                with speed.step(len(batch.images)), clock.step():
                    _step(run, batch, config, ranks, monitor, rate=clock.learning_rate, bf16=bf16)
                if progress and ranks.is_first:
                    recent = np.mean(run.epoch_losses[-_RECENT_STEPS:] or [math.nan])
                    progress(*clock.done_of_total, f"epoch {clock.epoch} loss {recent:.3f}")
                if clock.ends_epoch:
                    _read_losses(run)
                    row = {"epoch": clock.epoch, "step": run.step, "loss": float(np.mean(run.epoch_losses))}
                    run.epoch_losses.clear()
                    if ranks.is_first:
                        with clock.end():
                            _end_epoch(run, config, out, monitor, row, validation, ranks.device, bf16=bf16)
                        saved_at = time.monotonic()
                    run.model.train()
                elif ranks.is_first and time.monotonic() - saved_at > between_saves_s:
                    before = time.monotonic()
                    _save(run, config, out)
                    saved_at = time.monotonic()
                    slow = max((saved_at - before) / (_SAVING_SHARE * _USUAL_S), 1.0)
                    between_saves_s = checkpoint_seconds * slow
        if ranks.is_first:
            write_checkpoint(out / "weights.safetensors", _weights_only(run, config))
            logger.info(
                "%.2f slices a second, waiting for batches %.1f %% of the time",
                speed.slices_per_s,
                100 * speed.waiting_share,
            )
            speed.write(out / "speed.json")
    return out / "weights.safetensors"


def _on_device(sources: Sources, config: TrainConfig, ranks: Ranks) -> DeviceSlices:
    if config.batching.augment.enhance:
        logger.warning("augment.enhance is not done on the device and is left out")
    return DeviceSlices([slices for _, slices in sources], config.preprocess, ranks.device)


def _start(
    config: TrainConfig, ranks: Ranks, out: Path, backbone_weights: Path | None, *, resume: bool
) -> _Run:
    """Begin a run, or go on from its checkpoint, which then gives all weights."""
    torch.manual_seed(config.batching.seed)
    resumed = resume and (out / "last.safetensors").is_file()
    model = build_network(config.architecture)
    if not resumed and backbone_weights:
        fill_backbone(model, backbone_weights)
    if not resumed and config.init_from:
        start_from(model, Path(config.init_from), config.preprocess)
    model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = None
    if config.optimiser.ema:
        averaged = build_network(config.architecture)
        averaged.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged.load_state_dict(model.state_dict())
        averaged.eval()
    optimiser = make_optimiser(model, config.optimiser, config.schedule.learning_rate)
    run = _Run(model, model, averaged, optimiser, step=0, history=[], epoch_losses=[], unread=[], share=0.0)
    if resumed:
        _restore(run, read_checkpoint(out / "last.safetensors"), config)
    ranks.check_same_step(run.step)
    run.network = ranks.connect(model)
    if ranks.is_first:
        out.mkdir(parents=True, exist_ok=True)
    return run


def _step(
    run: _Run, batch: Batch, config: TrainConfig, ranks: Ranks, monitor: Monitor, *, rate: float, bf16: bool
) -> None:
    """One step of the optimiser."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    images = batch.images.to(ranks.device, non_blocking=True, memory_format=torch.channels_last)
    masks, edges = (t.to(ranks.device, non_blocking=True) for t in (batch.masks, batch.edges))
    keep = None if batch.keep is None else batch.keep.to(ranks.device, non_blocking=True)
    with torch.autocast(ranks.device.split(":")[0], torch.bfloat16, enabled=bf16):
        outputs: Outputs = run.network(images)
    logits = outputs.to_float()
    own = len(images)
    if own:
        loss = total_loss(logits, masks, edges, config.loss, keep=keep)
        weighted = loss * (own * ranks.count / batch.total)  # the mean over the ranks is that of all slices
    else:
        loss = weighted = _nothing(logits)
    run.optimiser.zero_grad(set_to_none=True)
    weighted.backward()  # type: ignore[no-untyped-call]
    run.unread.append(ranks.mean_over_slices(loss.detach(), own, batch.total))
    if not ranks.on_gpu or len(run.unread) >= STEPS_BETWEEN_SCALARS:
        _read_losses(run)  # a GPU would stand still at every step
    if config.optimiser.clip_value:
        nn.utils.clip_grad_value_(run.model.parameters(), config.optimiser.clip_value)
    if config.optimiser.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), config.optimiser.clip_norm)
    run.optimiser.step()
    if run.averaged is not None:
        update_running_mean(run.averaged, run.model, config.optimiser.ema, run.step)
    run.step += 1
    if run.step % STEPS_BETWEEN_SCALARS == 0 and ranks.is_first:
        # The first rank always has slices; the parts are those of its share.
        named = loss_parts(logits, masks, config.loss, keep)
        parts = {f"loss/{name}": part.item() for name, part in named.items()}
        monitor.scalars({"loss/total": loss.item(), "learning_rate": rate} | parts, run.step)


def _read_losses(run: _Run) -> None:
    """Fetch the losses of the last steps from the device."""
    values = [loss.item() for loss in run.unread]
    first = run.step - len(values) + 1
    run.unread.clear()
    for step, value in enumerate(values, first):
        if not math.isfinite(value):
            raise ModelError(
                f"the loss became {value} at step {step}; lower learning_rate or use fp32", code=4005
            )
    run.epoch_losses += values


def _nothing(logits: Outputs) -> Tensor:
    """The loss of no slices: zero, with a graph through every map."""
    maps = [*logits.infection_maps.values(), logits.edge]
    return torch.stack([m.sum() for m in maps if m is not None]).sum()


def _end_epoch(
    run: _Run,
    config: TrainConfig,
    out: Path,
    monitor: Monitor,
    row: dict[str, float],
    validation: LabelledSlices | None,
    device: str,
    *,
    bf16: bool,
) -> None:
    """Validate, note the epoch in the curves, and write the checkpoints."""
    if validation:
        row["validation_dice"] = mean_dice(run.weights(), validation, config.preprocess, device, bf16=bf16)
        monitor.predictions(run.weights(), validation, config.preprocess, device, run.step)
    best = max((r.get("validation_dice", 0.0) for r in run.history), default=0.0)
    run.history.append(row)
    logger.info("epoch %(epoch)d: %(values)s", {"epoch": row["epoch"], "values": row})
    monitor.epoch(run.history)
    if row.get("validation_dice", -1.0) > best:
        write_checkpoint(out / "best.safetensors", _weights_only(run, config))
    _save(run, config, out)


def _weights_only(run: _Run, config: TrainConfig) -> Checkpoint:
    tensors = {f"weights/{k}": v for k, v in run.weights().state_dict().items()}
    return Checkpoint(tensors, _state(run, config))


def _save(run: _Run, config: TrainConfig, out: Path) -> None:
    _read_losses(run)
    tensors = {f"model/{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in flatten_optimiser(run.optimiser).items()}
    if run.averaged is not None:
        tensors |= {f"weights/{k}": v for k, v in run.averaged.state_dict().items()}
    write_checkpoint(out / "last.safetensors", Checkpoint(tensors, _state(run, config)))


def _state(run: _Run, config: TrainConfig) -> dict[str, object]:
    return {
        "config": to_plain(config),
        "step": run.step,
        "history": run.history,
        "epoch_losses": run.epoch_losses,
        "share": run.share,
    }


def _restore(run: _Run, checkpoint: Checkpoint, config: TrainConfig) -> None:
    _refuse_another(config, checkpoint.state["config"])
    run.model.load_state_dict(checkpoint.group("model"))
    if run.averaged is not None:
        run.averaged.load_state_dict(checkpoint.group("weights"))
    resume_optimiser(run.optimiser, checkpoint.group("optimiser"))
    run.step, run.history = checkpoint.state["step"], checkpoint.state["history"]
    run.epoch_losses = checkpoint.state["epoch_losses"]
    run.share = checkpoint.state.get("share", 0.0)


def _refuse_another(config: TrainConfig, saved: dict[str, object]) -> None:
    """Refuse to go on with a checkpoint of another configuration."""
    now = to_plain(config)
    try:
        # A key that is younger than the checkpoint had its default.
        then = to_plain(from_plain(TrainConfig, saved, "the checkpoint"))
    except (PlainError, InfnetError):
        then = saved
    changed = [key for key, value in now.items() if value != then.get(key)]
    if changed:
        raise ModelError(
            f"the checkpoint was made with another configuration ({', '.join(changed)} differ); "
            "resume with the same one, or start a new run with init_from",
            code=4004,
        )
