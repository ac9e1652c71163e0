"""Which label of a mask is which lung, as the user says it: ``right=1,left=2``."""

from dataclasses import dataclass
from typing import Self

from infnet_runtime.errors import InputError

_FORM = "expected for example right=1,left=2 or right=3+4+5,left=1+2 or lung=1"


@dataclass(frozen=True)
class LungLabels:
    """Labels of the lungs; what is named nowhere is no lung.

    Parameters
    ----------
    right, left
        Of the patient's right and left lung.
    lung
        Of lung of either side, such as an infection with a label of its own; its side is found.

    Raises
    ------
    InputError
        If nothing is named, a label twice, or one that is no label.
    """

    right: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    lung: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        named = self.right + self.left + self.lung
        if not named or len(set(named)) < len(named) or min(named) < 1:
            raise InputError(
                f"lung labels {self}: every label is named once and is 1 or more; {_FORM}", code=3065
            )

    def __str__(self) -> str:
        """As the command line takes it."""
        sides = (("right", self.right), ("left", self.left), ("lung", self.lung))
        return ",".join(f"{side}={'+'.join(map(str, labels))}" for side, labels in sides if labels)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the form of the command line.

        Raises
        ------
        InputError
            If the text has another form.

        Examples
        --------
        >>> LungLabels.parse("right=3+4+5,left=1+2")
        LungLabels(right=(3, 4, 5), left=(1, 2), lung=())
        """
        sides: dict[str, tuple[int, ...]] = {}
        for part in text.replace(" ", "").split(","):
            side, _, labels = part.partition("=")
            numbers = labels.split("+")
            if side not in ("right", "left", "lung") or side in sides or not all(map(str.isdecimal, numbers)):
                raise InputError(f"cannot read the lung labels {text!r}; {_FORM}", code=3065)
            sides[side] = tuple(map(int, numbers))
        return cls(**sides)
