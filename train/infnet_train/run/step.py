"""One step of the optimiser."""

import torch
from torch import Tensor, nn

from infnet_train.assess.priors import Prior
from infnet_train.config.schema import TrainConfig
from infnet_train.data.batch import Batch
from infnet_train.machine.ranks import Ranks
from infnet_train.networks import Outputs
from infnet_train.networks.losses import total_loss
from infnet_train.run.monitor import STEPS_BETWEEN_SCALARS, Monitor, loss_parts
from infnet_train.run.optimiser import update_running_mean
from infnet_train.run.priors import training_input
from infnet_train.run.state import Run, read_losses


def take_step(
    run: Run,
    batch: Batch,
    config: TrainConfig,
    ranks: Ranks,
    monitor: Monitor,
    *,
    rate: float,
    bf16: bool,
    prior: Prior | None = None,
) -> None:
    """Forward, loss, backward, and the new weights.

    Parameters
    ----------
    prior
        What the network is given beside the slices; absent where it is given nothing.

    Raises
    ------
    ModelError
        If a loss is not finite.
    """
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    images = batch.images.to(ranks.device, non_blocking=True, memory_format=torch.channels_last)
    masks, edges = (t.to(ranks.device, non_blocking=True) for t in (batch.masks, batch.edges))
    keep, classes = (
        None if t is None else t.to(ranks.device, non_blocking=True) for t in (batch.keep, batch.classes)
    )
    if prior is not None:
        images = training_input(
            prior, images, masks, config, ranks, step=run.step, total=batch.total, bf16=bf16
        )
    with torch.autocast(ranks.device.split(":")[0], torch.bfloat16, enabled=bf16):
        outputs: Outputs = run.network(images)
    logits = outputs.to_float()
    own = len(images)
    if own:
        loss = total_loss(logits, masks, edges, config.loss, keep=keep, classes=classes)
        weighted = loss * (own * ranks.count / batch.total)  # the mean over the ranks is that of all slices
    else:
        loss = weighted = _nothing(logits)
    run.optimiser.zero_grad(set_to_none=True)
    weighted.backward()  # type: ignore[no-untyped-call]
    run.unread.append(ranks.mean_over_slices(loss.detach(), own, batch.total))
    if not ranks.on_gpu or len(run.unread) >= STEPS_BETWEEN_SCALARS:
        read_losses(run)  # a GPU would stand still at every step
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
        named = loss_parts(logits, masks, config.loss, keep, classes)
        parts = {f"loss/{name}": part.item() for name, part in named.items()}
        monitor.scalars({"loss/total": loss.item(), "learning_rate": rate} | parts, run.step)


def _nothing(logits: Outputs) -> Tensor:
    """The loss of no slices: zero, with a graph through every map."""
    maps = [*logits.infection_maps.values(), logits.edge, logits.classes]
    return torch.stack([m.sum() for m in maps if m is not None]).sum()
