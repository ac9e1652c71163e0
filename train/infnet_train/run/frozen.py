"""Parts of a network that a run does not train: they keep their weights and their statistics."""

from torch import nn

from infnet_train.errors import ConfigError


def freeze_all_but(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Take no gradient of weights outside ``parts``; without any, all of them are trained.

    Raises
    ------
    ConfigError
        If the network has no such part.
    """
    children = dict(model.named_children())
    unknown = [part for part in parts if part not in children]
    if unknown:
        raise ConfigError(
            f"train_only names {', '.join(map(repr, unknown))}, the network has {', '.join(children)}",
            code=3101,
        )
    for frozen in _frozen(model, parts):
        frozen.requires_grad_(False)


def to_training(model: nn.Module, parts: tuple[str, ...]) -> None:
    """Set the network to training, and what is frozen to evaluation: its statistics stay."""
    model.train()
    for frozen in _frozen(model, parts):
        frozen.eval()


def _frozen(model: nn.Module, parts: tuple[str, ...]) -> list[nn.Module]:
    return [child for name, child in model.named_children() if parts and name not in parts]
