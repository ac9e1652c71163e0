"""Where the priors of a training come from."""

from dataclasses import dataclass

from infnet_train.errors import ConfigError, check_number


@dataclass(frozen=True, kw_only=True)
class PriorsConfig:
    """The prior of a network with ``prior = true``, made of each augmented slice in its step.

    Parameters
    ----------
    model
        A checkpoint of a network that finds the infection, or ``stage:NAME``. Its probability is the prior,
        of the validation slices too. Without it everything has the truth, which no slice has in use.
    truth_share
        Share of the slices, drawn anew in each step, whose prior is the truth: 1 is the released code.
    """

    model: str = ""
    truth_share: float = 0.0

    def __post_init__(self) -> None:
        check_number("priors.truth_share", self.truth_share, 0, 1)
        if not self.model and self.truth_share < 1:
            raise ConfigError(
                f"priors.truth_share is {self.truth_share} and priors.model is empty; name the "
                "checkpoint of a network that finds the infection, or set truth_share = 1.0",
                code=3175,
            )
