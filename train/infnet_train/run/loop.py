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
from pathlib import Path

import numpy as np

from infnet_runtime.io.atomic import prepare_folder
from infnet_train.assess.validation import validation_scores
from infnet_train.config.schema import TrainConfig
from infnet_train.data.batches import Sources, batches, prefetched, refuse_one_slice, steps_per_epoch
from infnet_train.data.on_device import DeviceSlices
from infnet_train.data.seen import write_seen
from infnet_train.errors import ConfigError
from infnet_train.machine.compiled import CompiledOrPlain
from infnet_train.machine.ranks import Ranks, join
from infnet_train.run.budget import TimeBudget
from infnet_train.run.classes import refuse_without_classes
from infnet_train.run.clock import Clock
from infnet_train.run.curves import best_epoch, epoch_line
from infnet_train.run.eta import Eta
from infnet_train.run.folder import WEIGHTS, refuse_begun
from infnet_train.run.frozen import to_training
from infnet_train.run.monitor import Monitor, open_monitor
from infnet_train.run.priors import open_prior
from infnet_train.run.sources import load_slices
from infnet_train.run.speed import Speed
from infnet_train.run.state import How, Run, is_finished, read_losses, save_run, start_run, weights_only
from infnet_train.run.step import take_step
from infnet_train.weights.checkpoint import write_checkpoint

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
# A checkpoint that takes more than this share of the usual time between two is written less often.
_SAVING_SHARE, _USUAL_S = 0.02, 120.0
_RECENT_STEPS = 50  # for the loss beside the progress bar


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

    A run that is finished is not trained on: its weights are returned as they are.

    Writes into ``out``: ``last.safetensors`` (resumable), ``weights.safetensors`` (to export),
    ``best.safetensors`` (best validation Dice), ``curves.csv``, ``curves.png``, ``speed.json``
    and ``tensorboard/``.

    Parameters
    ----------
    resume
        Go on with the run in ``out``; without it a run that is there is refused.
    bf16
        Convolutions in bfloat16, losses and weights in fp32.
    backbone_weights
        ImageNet weights of Res2Net-50 v1b 26w4s, where the user has the file, or a checkpoint of infnet, of
        which the backbone is taken.
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
        If data, configuration or checkpoint are refused, a run is there already, or the loss is not finite.
    """
    budget = None if budget_s is None else TimeBudget(budget_s)
    with join(device) as ranks:
        if not resume and ranks.is_first:
            refuse_begun(out)
        if resume and is_finished(config, out):
            logger.info("%s is finished; there is nothing to go on with", out)
            return out / WEIGHTS
        if budget and ranks.count > 1:
            raise ConfigError(
                f"a time budget holds for one process, this run has {ranks.count}; leave --time-budget out",
                code=3101,
            )
        sources, validation = load_slices(config, data_root, ranks, cache=cache, bf16=bf16)
        refuse_one_slice(config.batching, sources)
        prior = open_prior(config, ranks.device)
        how = How(
            data=str(data_root.resolve()),
            slices=tuple(len(slices) for _, slices in sources),
            device=ranks.device.split(":")[0],
            precision="bf16" if bf16 else "fp32",
            augment_on_device=augment_on_device,
            prior=prior.weights_sha256 if prior else "",
        )
        run = start_run(config, ranks, out, backbone_weights, how, resume=resume)
        refuse_without_classes(run.model, config, sources, validation, ranks.device)
        if ranks.is_first:
            write_seen(prepare_folder(out), (slices for _, slices in sources))
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
        eta, epoch_began = Eta(), time.monotonic()
        eta.left_s(*clock.done_of_total)
        with open_monitor(out if ranks.is_first else None, step=run.step) as monitor, ahead as ready:
            to_training(run.model, config.train_only)
            while not clock.is_over:
                with speed.waiting():
                    batch = next(ready)
                rate = clock.learning_rate
                with speed.step(len(batch.images)), clock.step():
                    take_step(run, batch, config, ranks, monitor, rate=rate, bf16=bf16, prior=prior)
                if progress and ranks.is_first:
                    recent = np.mean(run.epoch_losses[-_RECENT_STEPS:] or [math.nan])
                    progress(*clock.done_of_total, f"epoch {clock.epoch}, loss {recent:.3f}")
                if clock.ends_epoch():
                    read_losses(run)
                    loss = float(np.mean(run.epoch_losses))
                    row = {"epoch": clock.epoch, "step": run.step, "learning_rate": rate, "loss": loss}
                    run.epoch_losses.clear()
                    if ranks.is_first:
                        with clock.end():
                            if validation:
                                model, device = run.weights(), ranks.device
                                row |= validation_scores(
                                    model, validation, config.preprocess, device, prior=prior, bf16=bf16
                                )
                                monitor.predictions(
                                    model, validation, config.preprocess, device, run.step, prior=prior
                                )
                            _end_epoch(run, config, out, monitor, row)
                        saved_at = time.monotonic()
                        line = epoch_line(
                            run.history,
                            epochs=config.schedule.epochs if budget is None else None,
                            took_s=saved_at - epoch_began,
                            left_s=eta.left_s(*clock.done_of_total),
                        )
                        logger.info("%s", line)
                        epoch_began = saved_at
                    to_training(run.model, config.train_only)
                elif ranks.is_first and time.monotonic() - saved_at > between_saves_s:
                    before = time.monotonic()
                    save_run(run, config, out)
                    saved_at = time.monotonic()
                    slow = max((saved_at - before) / (_SAVING_SHARE * _USUAL_S), 1.0)
                    between_saves_s = checkpoint_seconds * slow
        if ranks.is_first:
            write_checkpoint(out / WEIGHTS, weights_only(run, config))
            if speed.steps:
                logger.info(
                    "%.2f slices a second, waiting for batches %.1f %% of the time",
                    speed.slices_per_s,
                    100 * speed.waiting_share,
                )
            speed.write(out / "speed.json")
    return out / WEIGHTS


def _on_device(sources: Sources, config: TrainConfig, ranks: Ranks) -> DeviceSlices:
    if config.batching.augment.enhance:
        logger.warning("augment.enhance is not done on the device and is left out")
    return DeviceSlices([slices for _, slices in sources], config.preprocess, ranks.device)


def _end_epoch(
    run: Run,
    config: TrainConfig,
    out: Path,
    monitor: Monitor,
    row: dict[str, float],
) -> None:
    """Note the epoch in the curves, and write the checkpoints."""
    run.history.append(row)
    monitor.epoch(run.history)
    if best_epoch(run.history) is row:
        write_checkpoint(out / "best.safetensors", weights_only(run, config))
    save_run(run, config, out)
