"""Configurations of a run by their flat keys, as a recipe writes them."""

from infnet_runtime.plain import to_plain
from infnet_train.config.fill import build
from infnet_train.config.schema import TrainConfig


def train_config(**values: object) -> TrainConfig:
    """A configuration from keys at the top; dataclasses are taken too."""
    return build(TrainConfig, {k: v for k, v in to_plain(values).items() if v is not None}, "test")


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    """A configuration with other values of some keys; None takes a key away."""
    return train_config(**(to_plain(config) | values))
