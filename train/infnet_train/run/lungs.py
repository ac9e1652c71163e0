"""The run that trains the lung network.

Small images first, then full size: the network is convolutional, and at 96 pixels a step costs a third. The
rate stays until the last part of the run and then falls to 0, so that a run can be made longer by going on
from an earlier checkpoint. What is exported is the running mean of the weights.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import ModelError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.lungs.contract import LungSpec
from infnet_runtime.lungs.network import find_lungs_by_network
from infnet_runtime.scan.ct import Intensity
from infnet_train.config.lungs import LungTrainConfig
from infnet_train.data.lungs import LungSlices, LungStack, read_stacks
from infnet_train.networks.lung_net import LungNet, LungProbabilities, lung_loss
from infnet_train.run.folder import LAST, WEIGHTS, claimed
from infnet_train.run.optimiser import resume_optimiser, update_running_mean
from infnet_train.weights.checkpoint import (
    Checkpoint,
    fill_weights,
    flatten_optimiser,
    read_checkpoint,
    read_state,
    write_checkpoint,
)

logger = logging.getLogger(__name__)

LungProgress = Callable[[int, int, str], None]

_RECENT_STEPS = 50


def train_lungs(
    config: LungTrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: LungProgress | None = None,
    steps_between_checkpoints: int = 100,
) -> Path:
    """Train the lung network and return the path of its weights.

    Writes ``last.safetensors`` (resumable), ``weights.safetensors`` (to export) and ``curves.csv`` into
    ``out``.

    Parameters
    ----------
    data
        Has ``train`` and, to measure at the end, ``validation``: what ``infnet-train lungs prepare`` wrote.
    resume
        Go on from ``last.safetensors``. The configuration may say more steps than before, or other shares.
    force
        Move a run that is in ``out`` aside; without it or ``resume`` such a run is refused.

    Raises
    ------
    InfnetError
        If data or checkpoint are refused, a run is there already, or the loss is not finite.
    """
    with claimed(out, resume=resume, force=force, needed=[data]):
        if resume and (out / WEIGHTS).is_file() and (step := _steps_done(out / LAST)) >= config.steps:
            logger.info("%s is finished, at step %d; there is nothing to go on with", out, step)
            return out / WEIGHTS
        return _train(
            config,
            data,
            out,
            resume=resume,
            progress=progress,
            steps_between_checkpoints=steps_between_checkpoints,
        )


def _train(
    config: LungTrainConfig,
    data: Path,
    out: Path,
    *,
    resume: bool,
    progress: LungProgress | None,
    steps_between_checkpoints: int,
) -> Path:
    spec = LungSpec()
    slices = LungSlices(read_stacks(data / "train"), config.shares, seed=config.seed, spec=spec)
    torch.manual_seed(config.seed)
    model, averaged = (LungNet().to(memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    averaged.load_state_dict(model.state_dict())
    averaged.eval()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    last = out / LAST
    step = _restore(last, model, averaged, optimiser) if resume and last.is_file() else 0
    _keep_until(out / "curves.csv", step)
    recent: list[float] = []
    start = time.monotonic()
    while step < config.steps:
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        batch = slices.batch(step, config.batch_size, size=config.size(step, spec))
        planes = torch.from_numpy(batch.planes).contiguous(memory_format=torch.channels_last)
        loss = lung_loss(model(planes), torch.from_numpy(batch.lungs))
        if not math.isfinite(loss.item()):
            raise ModelError(f"the loss became {loss.item()} at step {step}; lower learning_rate", code=4005)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimiser.step()
        update_running_mean(averaged, model, config.average, step)
        step += 1
        recent.append(loss.item())
        if step % _RECENT_STEPS == 0:
            _log(out / "curves.csv", step, config.rate(step), float(np.mean(recent)), start)
            recent.clear()
        if progress:
            progress(step, config.steps, f"loss {loss.item():.3f}")
        if step % steps_between_checkpoints == 0 or step == config.steps:
            _save(last, config, step, model, averaged, optimiser)
    weights = out / WEIGHTS
    tensors = {f"weights/{k}": v for k, v in averaged.state_dict().items()}
    state: dict[str, Any] = {"config": dataclasses.asdict(config), "step": step, "network": "lung_net"}
    if (data / "validation").is_dir():
        state["validation"] = measure(averaged, read_stacks(data / "validation"), spec)
    write_checkpoint(weights, Checkpoint(tensors, state))
    return weights


@torch.no_grad()
def measure(network: LungNet, stacks: list[LungStack], spec: LungSpec | None = None) -> dict[str, float]:
    """Dice of each stack that has lungs, and the found share of all voxels of one that has none.

    The way is that of the runtime; the stacks are smaller than the scans.
    """
    exported = LungProbabilities(network).eval()

    def run(batch: FloatArray) -> FloatArray:
        probabilities: Tensor = exported(torch.from_numpy(batch))
        return np.asarray(probabilities.numpy(), np.float32)

    scores: dict[str, float] = {}
    for stack in stacks:
        top, bottom = int(stack.seen[:, 0].min()), int(stack.seen[:, 1].max())
        left, right = int(stack.seen[:, 2].min()), int(stack.seen[:, 3].max())
        box = (slice(None), slice(top, bottom), slice(left, right))
        found = find_lungs_by_network(stack.hu[box], stack.spacing_mm, Intensity.HU, run, spec=spec)
        truth = stack.sides[box]
        right_side = np.count_nonzero((found == truth) & (truth > 0))  # a lung on the wrong side is no hit
        either = np.count_nonzero(found) + np.count_nonzero(truth)
        score = 2 * right_side / either if truth.any() else either / found.size
        scores[stack.name] = float(score)
    return scores


def _log(path: Path, step: int, rate: float, loss: float, start: float) -> None:
    text = f"{step},{rate:.6f},{loss:.5f},{time.monotonic() - start:.0f}\n"
    with path.open("a") as file:
        if not file.tell():
            file.write("step,learning_rate,loss,seconds\n")
        file.write(text)
    logger.info("step %d, loss %.4f, %.0f s", step, loss, time.monotonic() - start)


def _steps_done(last: Path) -> int:
    return int(read_state(last)["step"]) if last.is_file() else 0


def _keep_until(curves: Path, step: int) -> None:
    """Take the rows away that an interrupted run wrote after its last checkpoint."""
    if not curves.is_file():
        return
    head, *rows = curves.read_text("utf-8").splitlines(keepends=True)
    with atomic_write(curves) as file:
        file.write("".join([head, *(row for row in rows if int(row.split(",")[0]) <= step)]).encode())


def _save(
    path: Path,
    config: LungTrainConfig,
    step: int,
    model: LungNet,
    averaged: LungNet,
    optimiser: torch.optim.Optimizer,
) -> None:
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"weights/{k}": v for k, v in averaged.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in flatten_optimiser(optimiser).items()}
    state = {"config": dataclasses.asdict(config), "step": step, "network": "lung_net"}
    write_checkpoint(path, Checkpoint(tensors, state))


def _restore(path: Path, model: LungNet, averaged: LungNet, optimiser: torch.optim.Optimizer) -> int:
    checkpoint = read_checkpoint(path)
    fill_weights(averaged, checkpoint, path)
    fill_weights(
        model, Checkpoint({f"weights/{k}": v for k, v in checkpoint.group("model").items()}, {}), path
    )
    resume_optimiser(optimiser, checkpoint.group("optimiser"))
    logger.info("going on from step %d of %s", checkpoint.state["step"], path)
    return int(checkpoint.state["step"])
