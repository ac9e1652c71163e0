"""One training run, from top to bottom.

The paper's recipe (IEEE TMI 2020, section IV-B): Adam, the total loss of section III-E, every batch at three
sizes. Order, augmentation and sizes are drawn from generators seeded with (seed, epoch, position), so that
nothing random is carried along and a run resumed at any step equals the uninterrupted one.
"""

import csv
import dataclasses
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.preprocess import normalise
from infnet_train.augment import augment
from infnet_train.checkpoint import (
    Checkpoint,
    flatten_optimiser,
    load_weights,
    read_checkpoint,
    restore_optimiser,
    write_checkpoint,
)
from infnet_train.config import SourceConfig, TrainConfig
from infnet_train.datasets import LabelledSlices, load_source
from infnet_train.evaluate import mean_dice
from infnet_train.losses import total_loss
from infnet_train.model import InfNet, SideOutputs
from infnet_train.weights import load_backbone_weights, read_reference_state

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
_CHECKPOINT_SECONDS = 120.0
_RECENT_STEPS = 50  # for the loss beside the progress bar
_STREAM_ORDER, _STREAM_AUGMENT, _STREAM_SIZE = range(3)


@dataclass(frozen=True)
class Batch:
    """Network input and targets, (n, 3 | 1 | 1, size, size)."""

    images: Tensor
    masks: Tensor
    edges: Tensor


@dataclass
class _Run:
    """State that lives as long as the run."""

    model: InfNet
    averaged: InfNet | None
    optimiser: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]
    epoch_losses: list[float]

    def weights(self) -> InfNet:
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
) -> Path:
    """Train a network and return the path of its last weights.

    Writes into ``out``: ``last.safetensors`` (resumable), ``weights.safetensors`` (to export),
    ``best.safetensors`` (best validation Dice) and ``curves.csv``.

    Parameters
    ----------
    bf16
        Convolutions in bfloat16, losses and weights in fp32.
    backbone_weights
        ImageNet weights of Res2Net-50 v1b 26w4s, where the user has the file.

    Raises
    ------
    InfnetError
        If data, configuration or checkpoint are refused, or the loss is not finite.
    """
    sources = [(s, load_source(data_root, s, config.preprocess.size)) for s in config.sources]
    for source, slices in sources:
        logger.info("source %s: %d slices", source.name, len(slices))
    validation = config.validation and load_source(data_root, config.validation, config.preprocess.size)

    torch.manual_seed(config.seed)
    last = None
    if resume and (out / "last.safetensors").is_file():
        last = read_checkpoint(out / "last.safetensors")
    run = _start(config, device, backbone_weights, fresh=last is None)
    if last:
        _restore(run, last, config)
    out.mkdir(parents=True, exist_ok=True)

    steps_per_epoch = len(_epoch_order(config, sources, epoch=0)) * _steps_per_batch(config)
    total_steps = steps_per_epoch * config.epochs
    saved_at = time.monotonic()
    for epoch in range(run.step // steps_per_epoch, config.epochs):
        run.model.train()
        for batch, position in _batches(config, sources, epoch, skip=run.step - epoch * steps_per_epoch):
            for group in run.optimiser.param_groups:
                group["lr"] = learning_rate(config, epoch + 1, run.step, total_steps)
            run.epoch_losses.append(_step(run, batch, config, device, bf16=bf16))
            run.step += 1
            if progress:
                recent = np.mean(run.epoch_losses[-_RECENT_STEPS:])
                progress(run.step, total_steps, f"epoch {epoch + 1} loss {recent:.3f}")
            if time.monotonic() - saved_at > _CHECKPOINT_SECONDS and position + 1 < steps_per_epoch:
                _save(run, config, out)
                saved_at = time.monotonic()
        row = {"epoch": epoch + 1, "step": run.step, "loss": float(np.mean(run.epoch_losses))}
        run.epoch_losses.clear()
        if validation:
            row["validation_dice"] = mean_dice(
                run.weights(), validation, config.preprocess, device, bf16=bf16
            )
        best = max((r.get("validation_dice", 0.0) for r in run.history), default=0.0)
        run.history.append(row)
        logger.info("epoch %(epoch)d: %(values)s", {"epoch": epoch + 1, "values": row})
        _write_curves(out / "curves.csv", run.history)
        if row.get("validation_dice", -1.0) > best:
            write_checkpoint(out / "best.safetensors", _weights_only(run, config))
        _save(run, config, out)
        saved_at = time.monotonic()
    write_checkpoint(out / "weights.safetensors", _weights_only(run, config))
    return out / "weights.safetensors"


def learning_rate(config: TrainConfig, epoch: int, step: int, total_steps: int) -> float:
    """Rate at a step; ``epoch`` counts from 1."""
    rate = config.learning_rate
    if config.lr_schedule == "compounding":
        # The released code multiplies the current rate by 0.1 ** (e // step) before each epoch e.
        return float(rate * 0.1 ** sum(e // config.lr_step for e in range(1, epoch + 1)))
    if config.lr_schedule == "step":
        return float(rate * 0.1 ** (epoch // config.lr_step))
    if config.lr_schedule == "cosine":
        if step < config.warmup_steps:
            return rate * (step + 1) / config.warmup_steps
        done = (step - config.warmup_steps) / max(total_steps - config.warmup_steps, 1)
        return 0.5 * rate * (1 + math.cos(math.pi * done))
    return rate


def _start(config: TrainConfig, device: str, backbone_weights: Path | None, *, fresh: bool) -> _Run:
    """Begin a run; one that is not fresh gets its weights from its checkpoint, not from elsewhere."""
    model = InfNet(config.parts)
    if fresh and backbone_weights:
        state = read_reference_state(backbone_weights)
        load_backbone_weights(model.backbone, state, source=str(backbone_weights))
    if fresh and config.init_from:
        load_weights(model, Path(config.init_from))
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = None
    if config.ema:
        averaged = InfNet(config.parts)
        averaged.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged.load_state_dict(model.state_dict())
        averaged.eval()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return _Run(model, averaged, optimiser, step=0, history=[], epoch_losses=[])


def _steps_per_batch(config: TrainConfig) -> int:
    return 1 if config.random_size else len(config.sizes)


def _epoch_order(
    config: TrainConfig, sources: list[tuple[SourceConfig, LabelledSlices]], epoch: int
) -> list[list[tuple[int, int]]]:
    """Batches of one epoch as (source, slice) pairs; the last batch may be short."""
    rng = np.random.default_rng((config.seed, _STREAM_ORDER, epoch))
    picks: list[tuple[int, int]] = []
    for index, (source, slices) in enumerate(sources):
        draws = source.draws or len(slices)
        # Whole permutations one after the other, so that no slice is drawn twice before all were once.
        rounds = [rng.permutation(len(slices)) for _ in range(math.ceil(draws / len(slices)))]
        picks += [(index, int(i)) for i in np.concatenate(rounds)[:draws]]
    order = [picks[i] for i in rng.permutation(len(picks))]
    return [order[i : i + config.batch_size] for i in range(0, len(order), config.batch_size)]


def _batches(
    config: TrainConfig, sources: list[tuple[SourceConfig, LabelledSlices]], epoch: int, *, skip: int
) -> Iterator[tuple[Batch, int]]:
    """Batches of an epoch, one for each optimiser step, without the first ``skip``."""
    per_batch = _steps_per_batch(config)
    for number, picks in enumerate(_epoch_order(config, sources, epoch)):
        positions = range(number * per_batch, (number + 1) * per_batch)
        if positions[-1] < skip:
            continue
        base = _load_batch(config, sources, picks, epoch, number)
        sizes = config.sizes
        if config.random_size:
            rng = np.random.default_rng((config.seed, _STREAM_SIZE, epoch, number))
            sizes = (int(rng.choice(config.sizes)),)
        for position, size in zip(positions, sizes, strict=True):
            if position >= skip:
                yield _at_size(base, size), position


def _load_batch(
    config: TrainConfig,
    sources: list[tuple[SourceConfig, LabelledSlices]],
    picks: list[tuple[int, int]],
    epoch: int,
    number: int,
) -> Batch:
    rng = np.random.default_rng((config.seed, _STREAM_AUGMENT, epoch, number))
    planes = []
    for source, i in picks:
        slices = sources[source][1]
        planes.append(augment(slices.images[i], slices.masks[i], slices.edges[i], config.augment, rng))
    grey, masks, edges = (np.stack(p) for p in zip(*planes, strict=True))
    return Batch(
        torch.from_numpy(normalise(grey, config.preprocess)),
        torch.from_numpy(masks[:, None]),
        torch.from_numpy(edges[:, None]),
    )


def _at_size(batch: Batch, size: int) -> Batch:
    """Resize image, mask and edge tensors as the original code does (aligned corners, no antialias)."""
    if batch.images.shape[-1] == size:
        return batch
    resized = (
        functional.interpolate(t, size=(size, size), mode="bilinear", align_corners=True)
        for t in (batch.images, batch.masks, batch.edges)
    )
    return Batch(*resized)


def _step(run: _Run, batch: Batch, config: TrainConfig, device: str, *, bf16: bool) -> float:
    images = batch.images.to(device, memory_format=torch.channels_last)
    kind = device.split(":")[0]
    with torch.autocast(kind, torch.bfloat16, enabled=bf16):
        outputs = run.model(images)
    logits = SideOutputs._make(None if o is None else o.float() for o in outputs)  # losses in fp32
    loss = total_loss(logits, batch.masks.to(device), batch.edges.to(device), bce=config.bce)
    value = loss.item()
    if not math.isfinite(value):
        raise ModelError(
            f"the loss became {value} at step {run.step}; lower learning_rate or use fp32", code=4005
        )
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if config.clip_value:
        nn.utils.clip_grad_value_(run.model.parameters(), config.clip_value)
    if config.clip_norm:
        nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    run.optimiser.step()
    if run.averaged is not None:
        _average(run.averaged, run.model, config.ema, run.step)
    return value


@torch.no_grad()
def _average(averaged: InfNet, model: InfNet, decay: float, step: int) -> None:
    """Running mean of weights and of the statistics of the normalisation; short memory at the start."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(new, 1 - decay)
        else:
            mean.copy_(new)


def _weights_only(run: _Run, config: TrainConfig) -> Checkpoint:
    tensors = {f"weights/{k}": v for k, v in run.weights().state_dict().items()}
    return Checkpoint(tensors, _state(run, config))


def _save(run: _Run, config: TrainConfig, out: Path) -> None:
    tensors = {f"model/{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in flatten_optimiser(run.optimiser).items()}
    if run.averaged is not None:
        tensors |= {f"weights/{k}": v for k, v in run.averaged.state_dict().items()}
    write_checkpoint(out / "last.safetensors", Checkpoint(tensors, _state(run, config)))


def _state(run: _Run, config: TrainConfig) -> dict[str, object]:
    return {
        "config": dataclasses.asdict(config),
        "step": run.step,
        "history": run.history,
        "epoch_losses": run.epoch_losses,
    }


def _restore(run: _Run, checkpoint: Checkpoint, config: TrainConfig) -> None:
    saved, now = checkpoint.state["config"], dataclasses.asdict(config)
    # A key that is younger than the checkpoint had its default.
    defaults = {f.name: _plain(f.default) for f in dataclasses.fields(TrainConfig)}
    changed = [k for k, v in now.items() if _plain(v) != saved.get(k, defaults[k])]
    if changed:
        raise ModelError(
            f"the checkpoint was made with another configuration ({', '.join(changed)} differ); "
            "resume with the same one, or start a new run with init_from",
            code=4004,
        )
    run.model.load_state_dict(checkpoint.group("model"))
    if run.averaged is not None:
        run.averaged.load_state_dict(checkpoint.group("weights"))
    restore_optimiser(run.optimiser, checkpoint.group("optimiser"))
    run.step, run.history = checkpoint.state["step"], checkpoint.state["history"]
    run.epoch_losses = checkpoint.state["epoch_losses"]


def _plain(value: object) -> object:
    """A value as it comes back from JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _write_curves(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
