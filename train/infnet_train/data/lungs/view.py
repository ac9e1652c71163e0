"""Where a varied sample looks: field of view, size, turn and mirror, in one mapping.

A mirrored slice changes its labels as well, right for left: a lung's own shape says on which side the heart
and the spine lie, and that stays true. Nothing is turned upside down; a scan knows where the front is.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, FloatArray

_AT_LUNGS, _ANYWHERE, _FAR = 0.34, 0.16, 0.08  # of the views; the others show the whole slice
_LEAST_SIDE = 16.0
_LEAST_PART = 24


@dataclass(frozen=True, eq=False)
class View:
    """A part of a slice, and how it comes to the square of the network.

    Parameters
    ----------
    rows, columns : pixels of the stack
        What the picture shows; beyond it is padding.
    matrix : (2, 3)
        From pixels of the stack to those of the square.
    is_mirrored
        Whether right and left are exchanged.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    matrix: npt.NDArray[np.float64]
    is_mirrored: bool

    @property
    def scale(self) -> float:
        """Pixels of the square to one of the stack."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def of(self, plane: npt.NDArray[np.integer], size: int, *, reduced: float, repeat: bool) -> FloatArray:
        """A plane of the stack, or a reduced copy of it, as the square shows it.

        Parameters
        ----------
        reduced
            Size of the copy to that of the stack; 1 is the stack itself.
        repeat
            Whether the values at the border go on beyond it, or 0 lies there.
        """
        border = cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT
        matrix = _from_reduced(self.matrix, reduced)
        seen = cv2.warpAffine(plane, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(seen, np.float32)

    def seen(self, shape: tuple[int, int], size: int) -> BoolArray:
        """Where the square shows the picture and not padding: (size, size)."""
        part = np.zeros(shape, np.uint8)
        part[slice(*self.rows), slice(*self.columns)] = 1
        return np.asarray(cv2.warpAffine(part, self.matrix, (size, size), flags=cv2.INTER_NEAREST) > 0)


def draw_view(
    rng: np.random.Generator, seen: tuple[int, int, int, int], lungs: npt.NDArray[np.uint8], size: int
) -> View:
    """Draw a view of one slice.

    Parameters
    ----------
    seen
        First and last row and column of the picture.
    lungs : (2, rows, columns)
        Right and left lung, 0 where none is.
    size : pixels
        Of the square.
    """
    top, bottom, left, right = seen
    chosen = rng.random()
    if chosen < _AT_LUNGS and lungs.any():
        lung = lungs.max(axis=0) if rng.random() < 0.55 else lungs[int(rng.integers(2))]
        if lung.any():
            top, bottom, left, right = _around(rng, lung > 0, (top, bottom, left, right))
        side = max(bottom - top, right - left) * rng.uniform(1.0, 1.15)
    elif chosen < _AT_LUNGS + _ANYWHERE:
        top, bottom, left, right = _part(rng, (top, bottom, left, right))
        side = max(bottom - top, right - left) * rng.uniform(1.0, 1.1)
    else:
        side = max(bottom - top, right - left) * rng.uniform(0.95, 1.12)
        if chosen < _AT_LUNGS + _ANYWHERE + _FAR:  # a small patient in a large field of view
            side *= rng.uniform(1.1, 1.8)
    scale = size / max(side, _LEAST_SIDE)
    turn = np.deg2rad(rng.normal(0, 7) if rng.random() < 0.8 else rng.uniform(-25, 25))
    aspect = float(np.exp(rng.normal(0, 0.035)))
    is_mirrored = bool(rng.random() < 0.5)
    cosine, sine, across = np.cos(turn), np.sin(turn), -1.0 if is_mirrored else 1.0
    matrix = scale * np.array([[cosine * across, -sine], [sine * across, cosine]])
    matrix = matrix @ np.diag([1 / aspect, aspect])
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    shift = size / 2 + rng.normal(0, 0.03 * size, 2) - matrix @ centre
    return View((top, bottom), (left, right), np.column_stack([matrix, shift]), is_mirrored)


def _around(
    rng: np.random.Generator, lung: BoolArray, seen: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """A field of view around the lungs, or one of them, that may cut a little off."""
    rows, columns = np.flatnonzero(lung.any(axis=1)), np.flatnonzero(lung.any(axis=0))
    margin = rng.uniform(-0.02, 0.4) * max(rows[-1] - rows[0], columns[-1] - columns[0])
    top, left = int(rows[0] - margin * rng.random()), int(columns[0] - margin * rng.random())
    bottom, right = int(rows[-1] + margin * rng.random()), int(columns[-1] + margin * rng.random())
    top, left = max(seen[0], top), max(seen[2], left)
    bottom = max(min(seen[1], bottom), top + _LEAST_PART)
    right = max(min(seen[3], right), left + _LEAST_PART)
    return top, bottom, left, right


def _part(rng: np.random.Generator, seen: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Any part of a slice, as a tight field of view has it."""
    share = rng.uniform(0.45, 0.95)
    high = (seen[1] - seen[0]) * min(1.0, share * rng.uniform(0.8, 1.1))
    wide = (seen[3] - seen[2]) * share
    top = seen[0] + rng.random() * (seen[1] - seen[0] - high)
    left = seen[2] + rng.random() * (seen[3] - seen[2] - wide)
    return int(top), int(np.ceil(top + high)), int(left), int(np.ceil(left + wide))


def _from_reduced(matrix: npt.NDArray[np.float64], reduced: float) -> npt.NDArray[np.float64]:
    """The mapping of a smaller copy: pixel x of the copy lies at (x + 0.5) / reduced - 0.5."""
    linear = matrix[:, :2]
    shift = matrix[:, 2] + linear @ np.full(2, 0.5 / reduced - 0.5)
    return np.column_stack([linear / reduced, shift])
