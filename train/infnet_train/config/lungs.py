"""What a run of the lung network can be told."""

from dataclasses import dataclass

from infnet_runtime.lungs.contract import LungSpec
from infnet_train.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LungTrainConfig:
    """Configuration of a run of the lung network; a TOML file fills it.

    Parameters
    ----------
    name
        Of the recipe.
    steps
        Length of the run.
    batch_size
        Samples of a step.
    learning_rate, weight_decay
        Of AdamW.
    warmup_steps
        Over which the rate rises.
    falling_share
        Last part of the run, in which the rate falls to 0.
    small_size
        Side in pixels of the images in the first part of the run.
    small_share
        That part.
    average
        Decay of the running mean of the weights.
    clip_norm
        Largest norm of the gradient.
    shares
        Kind of stack (see ``infnet_train.data.lungs.sources``) to its share of the samples.
    seed
        Of weights and samples.
    """

    name: str
    steps: int
    batch_size: int = 16
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.02
    warmup_steps: int = 150
    falling_share: float = 0.3
    small_size: int = 96
    small_share: float = 0.5
    average: float = 0.998
    clip_norm: float = 5.0
    shares: dict[str, float]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.small_size % 32:
            raise ConfigError(
                f"steps {self.steps}, batch_size {self.batch_size}, small_size {self.small_size}; expected "
                "1 or more, 2 or more for the normalisation, and a multiple of 32",
                code=3101,
            )
        if not 0 <= self.small_share <= 1 or not 0 < self.falling_share <= 1:
            raise ConfigError(
                f"small_share {self.small_share}, falling_share {self.falling_share}; expected shares of 1",
                code=3101,
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step.

        Examples
        --------
        >>> config = LungTrainConfig(name="short", shares={}, steps=100, warmup_steps=10, learning_rate=1.0)
        >>> [round(config.rate(step), 2) for step in (0, 9, 50, 85, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.03]
        """
        rising = (step + 1) / max(1, self.warmup_steps)
        falling = (self.steps - step) / (self.falling_share * self.steps)
        return self.learning_rate * min(1.0, rising, falling)

    def size(self, step: int, spec: LungSpec) -> int:
        """Side of the images of a step."""
        return self.small_size if step < self.small_share * self.steps else spec.size
