"""What the making of pseudo-labels can be told."""

from dataclasses import dataclass
from typing import Literal

from infnet_train.data.source import SourceConfig
from infnet_train.errors import ConfigError, check_number

Stretch = Literal["as_run", "none"]


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """How pseudo-labels are made; the defaults are the released code.

    Parameters
    ----------
    unlabelled
        Folders with ``Imgs``, and which of their slices.
    group_size
        Slices labelled at a time, K of the paper.
    epochs, learning_rate
        Of the training after each group. The paper gives no numbers.
    stretch
        ``as_run`` stretches every map to 0..1 before it becomes a label, so that a healthy slice gets
        infection too; ``none`` keeps the probabilities.
    """

    unlabelled: tuple[SourceConfig, ...]
    group_size: int = 5
    epochs: int = 9
    learning_rate: float = 3e-4
    stretch: Stretch = "as_run"

    def __post_init__(self) -> None:
        if not self.unlabelled:
            raise ConfigError("[propagation] has no [[propagation.unlabelled]] source", code=3101)
        check_number("group_size", self.group_size, 1)
        check_number("epochs", self.epochs, 1)
        check_number("learning_rate", self.learning_rate, 0, without=(0,))
