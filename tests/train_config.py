"""Configurations of a run by their flat keys, as a recipe writes them."""

from infnet_runtime.plain import to_plain
from infnet_train.config.fill import build
from infnet_train.config.schema import TrainConfig
from infnet_train.data.augment import AugmentConfig
from infnet_train.data.source import SourceConfig


def train_config(**values: object) -> TrainConfig:
    """A configuration from keys at the top; dataclasses are taken too."""
    return build(TrainConfig, {k: v for k, v in to_plain(values).items() if v is not None}, "test")


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    """A configuration with other values of some keys; None takes a key away."""
    return train_config(**(to_plain(config) | values))


# Of the six slices of the fixture ``slices``.
SMALL = train_config(
    name="small",
    sources=(SourceConfig(name="small", folder="small"),),
    validation=SourceConfig(name="small", folder="small", names=("s0", "s1")),
    augment=AugmentConfig(mirror=0.5, rotation_deg=10, scale=0.1, gamma=0.2, noise=0.05, blur=1.0),
    epochs=2,
    batch_size=3,
    sizes=(64, 32),
    ema=0.9,
)
