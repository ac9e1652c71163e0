"""What the class masks of a folder hold, for the data check."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import BoolArray
from infnet_train.data.classes import (
    CONSOLIDATION,
    GROUND_GLASS,
    IGNORED,
    UNKNOWN,
    class_mask_of,
    folder_codes,
    read_classes,
    within_infection,
)
from infnet_train.data.pictures import check_size


@dataclass(frozen=True)
class ClassReport:
    """How many slices have what.

    Parameters
    ----------
    folder
        Of the class masks: what ``classes`` of a source says.
    masks
        Slices with a class mask that could be read.
    ground_glass, consolidation, unknown, ignored
        Slices with pixels of that class, of unknown class, and to be ignored.
    """

    folder: str
    masks: int
    ground_glass: int
    consolidation: int
    unknown: int
    ignored: int

    def to_text(self) -> str:
        """One line."""
        return (
            f'{self.masks} in {self.folder} (classes = "{self.folder}"); ground glass in '
            f"{self.ground_glass}, consolidation in {self.consolidation}, unknown class in {self.unknown}, "
            f"ignored pixels in {self.ignored}"
        )


class ClassCheck:
    """The class masks of one folder, looked at slice by slice.

    Parameters
    ----------
    folder
        Of the class masks.
    are_masks
        They are the masks of the slices too.

    Raises
    ------
    DataError
        If they cannot be read.
    """

    def __init__(self, folder: Path, *, are_masks: bool) -> None:
        folder_codes(folder)
        self._folder, self._are_masks = folder, are_masks
        self._masks = 0
        self._slices: Counter[int] = Counter()

    def look_at(self, image: Path, infected: BoolArray | None) -> None:
        """Count what a slice has.

        Parameters
        ----------
        infected : (rows, columns)
            By its mask; absent where that could not be read.

        Raises
        ------
        DataError
            If its class mask is missing, refused, of another size, or of another infection.
        """
        path = class_mask_of(image, self._folder.name)
        classes = read_classes(path)
        self._masks += 1
        self._slices.update(np.unique(classes).tolist())
        if infected is not None and not self._are_masks:
            check_size(path, classes, infected)
            within_infection(classes, infected, path)

    def report(self) -> ClassReport:
        """What was found."""
        counts = (self._slices[label] for label in (GROUND_GLASS, CONSOLIDATION, UNKNOWN, IGNORED))
        return ClassReport(self._folder.name, self._masks, *counts)
