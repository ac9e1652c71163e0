"""The state that lives as long as a run, from its start or its checkpoint to the next checkpoint."""

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from infnet_runtime.errors import InfnetError, ModelError
from infnet_runtime.plain import PlainError, from_plain, to_plain
from infnet_train.config.schema import TrainConfig
from infnet_train.machine.ranks import Ranks
from infnet_train.networks import Network, build_network
from infnet_train.run.folder import LAST, WEIGHTS
from infnet_train.run.frozen import freeze_all_but
from infnet_train.run.optimiser import make_optimiser, resume_optimiser
from infnet_train.weights.channels import start_from
from infnet_train.weights.checkpoint import (
    Checkpoint,
    flatten_optimiser,
    read_checkpoint,
    read_state,
    write_checkpoint,
)
from infnet_train.weights.reference import fill_backbone

logger = logging.getLogger(__name__)

_SHOWN = 5  # of the keys that differ, in a message


@dataclass(frozen=True)
class How:
    """What a run is trained with that its configuration does not say.

    Parameters
    ----------
    slices
        Of each source.
    prior
        Hash of the weights whose probability is the prior; empty where there are none.
    backbone
        Name and hash of the file that gave the backbone at the start; empty where it began at random.
    """

    data: str
    slices: tuple[int, ...]
    device: str
    precision: str
    augment_on_device: bool
    prior: str = ""
    backbone: str = ""


@dataclass
class Run:
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
    how
        For the checkpoint, so that a resume can tell what is not as it was.
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
    how: How

    def weights(self) -> Network:
        """What is evaluated and exported."""
        return self.averaged or self.model


def start_run(
    config: TrainConfig, ranks: Ranks, out: Path, backbone_weights: Path | None, how: How, *, resume: bool
) -> Run:
    """Begin a run, or go on from its checkpoint, which then gives all weights.

    Raises
    ------
    InfnetError
        If weights or checkpoint are refused.
    """
    torch.manual_seed(config.batching.seed)
    resumed = resume and (out / LAST).is_file()
    model = build_network(config.architecture)
    if not resumed and backbone_weights:
        fill_backbone(model, backbone_weights)
        how = replace(how, backbone=_named(backbone_weights))
    if not resumed and config.init_from:
        start_from(model, Path(config.init_from), config.preprocess)
    freeze_all_but(model, config.train_only)
    model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = None
    if config.optimiser.ema:
        averaged = build_network(config.architecture)
        averaged.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged.load_state_dict(model.state_dict())
        averaged.eval()
    optimiser = make_optimiser(model, config.optimiser, config.schedule.learning_rate)
    run = Run(
        model, model, averaged, optimiser, step=0, history=[], epoch_losses=[], unread=[], share=0.0, how=how
    )
    if resumed:
        _restore(run, read_checkpoint(out / LAST), config, out)
    ranks.check_same_step(run.step)
    run.network = ranks.connect(model)
    if ranks.is_first:
        out.mkdir(parents=True, exist_ok=True)
    return run


def _named(path: Path) -> str:
    return f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def read_losses(run: Run) -> None:
    """Fetch the losses of the last steps from the device.

    Raises
    ------
    ModelError
        If one of them is not finite.
    """
    values = [loss.item() for loss in run.unread]
    first = run.step - len(values) + 1
    run.unread.clear()
    for step, value in enumerate(values, first):
        if not math.isfinite(value):
            raise ModelError(
                f"the loss became {value} at step {step}; lower learning_rate or use fp32", code=4005
            )
    run.epoch_losses += values


def weights_only(run: Run, config: TrainConfig) -> Checkpoint:
    """What is evaluated and exported, with its configuration."""
    tensors = {f"weights/{k}": v for k, v in run.weights().state_dict().items()}
    return Checkpoint(tensors, _state(run, config))


def save_run(run: Run, config: TrainConfig, out: Path) -> None:
    """Write ``last.safetensors``, from which the run goes on."""
    read_losses(run)
    tensors = {f"model/{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in flatten_optimiser(run.optimiser).items()}
    if run.averaged is not None:
        tensors |= {f"weights/{k}": v for k, v in run.averaged.state_dict().items()}
    write_checkpoint(out / LAST, Checkpoint(tensors, _state(run, config)))


def _state(run: Run, config: TrainConfig) -> dict[str, object]:
    return {
        "config": to_plain(config),
        "step": run.step,
        "history": run.history,
        "epoch_losses": run.epoch_losses,
        "share": run.share,
        "how": to_plain(run.how),
    }


def _restore(run: Run, checkpoint: Checkpoint, config: TrainConfig, out: Path) -> None:
    refuse_another(config, checkpoint.state["config"], out / LAST)
    run.model.load_state_dict(checkpoint.group("model"))
    if run.averaged is not None:
        run.averaged.load_state_dict(checkpoint.group("weights"))
    resume_optimiser(run.optimiser, checkpoint.group("optimiser"))
    run.step, run.history = checkpoint.state["step"], checkpoint.state["history"]
    run.epoch_losses = checkpoint.state["epoch_losses"]
    run.share = checkpoint.state.get("share", 0.0)
    if "how" in checkpoint.state:  # younger than the format
        then = from_plain(How, checkpoint.state["how"], str(out / LAST))
        run.how = replace(run.how, backbone=then.backbone)  # the checkpoint gives all weights
        _say_what_differs(then, run.how)


def is_finished(config: TrainConfig, out: Path) -> bool:
    """Whether a run has come to its end in this folder.

    Raises
    ------
    ModelError
        If it was a run of another configuration.
    """
    if not (out / WEIGHTS).is_file():
        return False
    refuse_another(config, read_state(out / WEIGHTS).get("config", {}), out / WEIGHTS)
    return True


def refuse_another(config: TrainConfig, saved: dict[str, object], path: Path) -> None:
    """Refuse to go on with a checkpoint of another configuration.

    Raises
    ------
    ModelError
        If it differs; with both values of each key.
    """
    now = to_plain(config)
    try:
        # A key that is younger than the checkpoint had its default.
        then = to_plain(from_plain(TrainConfig, saved, "the checkpoint"))
    except (PlainError, InfnetError):
        then = saved
    changed = list(_differences("", then, now))
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ModelError(
            f"{path} was made with another configuration: {', '.join(changed[:_SHOWN])}{more}; resume with "
            "the same one, or start a new run in another folder, from these weights if you like (init_from)",
            code=4004,
        )


def _differences(key: str, then: object, now: object) -> Iterator[str]:
    """Keys whose values differ, down to the last, with both values."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*now, *then]):
            yield from _differences(f"{key}.{name}".lstrip("."), then.get(name), now.get(name))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, pair in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{key}[{number}]", *pair)
    elif then != now:
        yield f"{key} was {then!r} and is {now!r}"


def _say_what_differs(then: How, now: How) -> None:
    """Refuse other slices or priors, and say what else is not as it was: weights are then not of one go.

    Raises
    ------
    ModelError
        If the sources have other numbers of slices than at the start, or the priors come from other weights.
    """
    if then.slices != now.slices:
        raise ModelError(
            f"the run began with {list(then.slices)} slices in its sources and would go on with "
            f"{list(now.slices)}; resume with the data of the start, or start a new run",
            code=4004,
        )
    if then.prior != now.prior:
        raise ModelError(
            f"the run began with the priors of weights {then.prior[:12] or 'none'} and would go on with "
            f"those of {now.prior[:12] or 'none'}: priors.model is another file now; put the one of the "
            "start back, or start a new run",
            code=4142,
        )
    for difference in _differences("", to_plain(then), to_plain(now)):
        logger.warning("not as at the start of this run: %s; the weights are not those of one go", difference)
