"""What the steps of a run can be told: how many, how large, and what is kept of their gradients."""

from dataclasses import dataclass
from typing import Literal

from infnet_train.errors import ConfigError, check_number

Optimiser = Literal["adam", "sgd"]
LrSchedule = Literal["compounding", "step", "constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run trains, and at which rate.

    Parameters
    ----------
    epochs
        How often all slices are gone through; with ``--time-budget`` the time decides.
    learning_rate
        Of the optimiser, at its height.
    lr_schedule
        ``compounding`` is the released code: from epoch ``lr_step`` on the rate is multiplied by 0.1 *every*
        epoch, so that training stops in effect two epochs later. ``step`` is one factor of 0.1 there.
        ``cosine`` falls to zero after ``warmup_steps`` of rise.
    lr_step
        Epoch of ``compounding`` and ``step``.
    warmup_steps
        Steps of ``cosine`` over which the rate rises.
    """

    epochs: int = 99
    learning_rate: float = 1e-4
    lr_schedule: LrSchedule = "compounding"
    lr_step: int = 50
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, 1)
        check_number("learning_rate", self.learning_rate, 0, without=(0,))
        check_number("lr_step", self.lr_step, 1)
        check_number("warmup_steps", self.warmup_steps, 0)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """What an optimiser step does with gradients and weights.

    Parameters
    ----------
    optimiser
        ``adam``: AdamW, which without weight decay is the Adam of the paper. ``sgd``: gradient descent with
        ``momentum``, of the paper's multi-class networks.
    momentum
        Of ``sgd``.
    weight_decay
        Of AdamW beside the gradient; of ``sgd`` added to it.
    clip_value
        Clamp of single gradient elements (the released code: 0.5); 0 is off.
    clip_norm
        Clamp of the norm of the gradient; 0 is off.
    ema
        Decay of the running mean of the weights that is evaluated and exported; 0 is off.
    """

    optimiser: Optimiser = "adam"
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_value: float = 0.5
    clip_norm: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weight_decay", "clip_value", "clip_norm"):
            check_number(name, getattr(self, name), 0)
        check_number("ema", self.ema, 0, 1, without=(1,))
        check_number("momentum", self.momentum, 0, 1, without=(1,))
        if self.momentum and self.optimiser != "sgd":
            raise ConfigError(
                f"momentum is {self.momentum} and optimiser is '{self.optimiser}', which has its own; leave "
                'momentum out, or set optimiser = "sgd"',
                code=3174,
            )
