"""What the steps of a run can be told: how many, how large, and what is kept of their gradients."""

from dataclasses import dataclass
from typing import Literal

LrSchedule = Literal["compounding", "step", "constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run trains, and at which rate.

    Parameters
    ----------
    lr_schedule
        ``compounding`` is the released code: from epoch ``lr_step`` on the rate is multiplied by 0.1 *every*
        epoch, so that training stops in effect two epochs later. ``step`` is one factor of 0.1 there.
        ``cosine`` falls to zero after ``warmup_steps`` of rise.
    """

    epochs: int = 99
    learning_rate: float = 1e-4
    lr_schedule: LrSchedule = "compounding"
    lr_step: int = 50
    warmup_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """What an optimiser step does with gradients and weights.

    Parameters
    ----------
    clip_value, clip_norm
        Clamp of single gradient elements (the released code: 0.5) or of their norm; 0 is off.
    ema
        Decay of the running mean of the weights that is evaluated and exported; 0 is off.
    """

    weight_decay: float = 0.0
    clip_value: float = 0.5
    clip_norm: float = 0.0
    ema: float = 0.0
