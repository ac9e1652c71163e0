"""The state that lives as long as a run, from its start or its checkpoint to the next checkpoint."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from infnet_runtime.errors import InfnetError, ModelError
from infnet_runtime.plain import PlainError, from_plain, to_plain
from infnet_train.config.schema import TrainConfig
from infnet_train.machine.ranks import Ranks
from infnet_train.networks import Network, build_network
from infnet_train.run.optimiser import make_optimiser, resume_optimiser
from infnet_train.weights.channels import start_from
from infnet_train.weights.checkpoint import (
    Checkpoint,
    flatten_optimiser,
    read_checkpoint,
    write_checkpoint,
)
from infnet_train.weights.reference import fill_backbone


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
        """What is evaluated and exported."""
        return self.averaged or self.model


def start_run(
    config: TrainConfig, ranks: Ranks, out: Path, backbone_weights: Path | None, *, resume: bool
) -> Run:
    """Begin a run, or go on from its checkpoint, which then gives all weights.

    Raises
    ------
    InfnetError
        If weights or checkpoint are refused.
    """
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
    run = Run(model, model, averaged, optimiser, step=0, history=[], epoch_losses=[], unread=[], share=0.0)
    if resumed:
        _restore(run, read_checkpoint(out / "last.safetensors"), config)
    ranks.check_same_step(run.step)
    run.network = ranks.connect(model)
    if ranks.is_first:
        out.mkdir(parents=True, exist_ok=True)
    return run


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
    write_checkpoint(out / "last.safetensors", Checkpoint(tensors, _state(run, config)))


def _state(run: Run, config: TrainConfig) -> dict[str, object]:
    return {
        "config": to_plain(config),
        "step": run.step,
        "history": run.history,
        "epoch_losses": run.epoch_losses,
        "share": run.share,
    }


def _restore(run: Run, checkpoint: Checkpoint, config: TrainConfig) -> None:
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
