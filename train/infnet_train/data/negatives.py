"""Slices of normal cases (set ``iq-othnccd-normal``), cropped to the lungs as at inference, labels empty."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infnet_runtime.lungs import find_lungs, lung_box
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_train.data.pictures import DataError, read_grey
from infnet_train.data.prepared import PreparedSlice

# Whole fields of view of 512 pixels, about 36 cm wide; only the margin of the crop depends on it.
_SPACING_MM = (1.0, 0.7, 0.7)
# In the order of their numbers, the last two of every ten groups measure a model and train none. Two, because
# a group is sometimes half a case, and then its other half is mostly beside it.
_OF_EVERY, _HELD_BACK = 10, (8, 9)


def groups_held_back(groups: set[int]) -> set[int]:
    """Which groups of slices no model may be trained on: a fifth of them, by a fixed rule.

    Examples
    --------
    >>> sorted(groups_held_back({0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12}))
    [9, 11]
    """
    return {group for i, group in enumerate(sorted(groups)) if i % _OF_EVERY in _HELD_BACK}


def normal_files(folder: Path, *, held_back: bool) -> list[Path]:
    """Pictures of the groups for training, or of those that are held back.

    Raises
    ------
    DataError
        As of :func:`normal_slices`.
    """
    return [folder / "images" / file for files in _chosen(folder, held_back) for file in files]


def normal_slices(folder: Path, *, held_back: bool) -> Iterator[PreparedSlice]:
    """Slices of the groups for training, or of those that are held back.

    The box is that of all slices of a group, as it is that of a whole scan at inference. How far apart the
    slices of a group are is not known, so they have no neighbours.

    Parameters
    ----------
    folder
        Holds ``slices.csv`` and ``images``, whole upright slices in the lung window.

    Raises
    ------
    DataError
        If a file is missing or refused, or shows no lung.
    """
    for files in _chosen(folder, held_back):
        margin_mm = PreprocessSpec().crop_margin_mm
        pictures = {file: read_grey(folder / "images" / file) for file in files}
        lungs = {
            file: find_lungs(grey[None], _SPACING_MM, Intensity.WINDOWED) for file, grey in pictures.items()
        }
        empty = [file for file, labels in lungs.items() if not labels.any()]
        if empty:
            raise DataError(
                f"no lung was found in {folder / 'images' / empty[0]}; expected whole chest slices in the "
                "lung window",
                code=3114,
            )
        rows, columns = lung_box(np.concatenate(list(lungs.values())), _SPACING_MM, margin_mm)
        for file, grey in pictures.items():
            cut = np.ascontiguousarray(grey[rows, columns])
            yield PreparedSlice(Path(file).stem, cut, np.zeros_like(cut))


def _chosen(folder: Path, held_back: bool) -> list[list[str]]:
    """File names of each group for training, or of each that is held back."""
    names = _read_groups(folder / "slices.csv")
    chosen = groups_held_back(set(names))
    return [files for group, files in sorted(names.items()) if (group in chosen) is held_back]


def _read_groups(path: Path) -> dict[int, list[str]]:
    """File names by group."""
    groups: dict[int, list[str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                groups.setdefault(int(row["group"]), []).append(row["file"])
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})", code=3114) from error
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not a table of file and group ({error}); get the set again", code=3114
        ) from error
    return groups
