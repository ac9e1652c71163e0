"""Connected pieces of a mask in three dimensions, found plane by plane.

Labels of a whole volume would take four bytes a voxel; here memory holds those of two planes.
"""

from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.opencv import cv2

_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True, eq=False)
class _Plane:
    """Labels of the last plane with marks, cropped to them.

    Parameters
    ----------
    labels : (rows, columns)
        0 outside.
    row, column
        Of its first pixel.
    first
        Number of the piece that label 1 is.
    """

    number: int
    labels: AnyArray
    row: int
    column: int
    first: int


@dataclass(frozen=True, eq=False)
class Pieces:
    """All pieces, and their parts: what of a piece hangs together within one plane.

    Parameters
    ----------
    first, last : (pieces,)
        Numbers of the lowest and of the highest plane.
    widest : (pieces,)
        Voxels in the plane with most of them.
    plane, piece : (parts,)
        Of each part, in the order in which planes were added and in that of the labels of :func:`labelled`.
    """

    first: AnyArray
    last: AnyArray
    widest: AnyArray
    plane: AnyArray
    piece: AnyArray


class Components:
    """Pieces whose voxels touch by faces, edges or corners. Planes come in order; empty ones may be left out.

    Examples
    --------
    >>> found = Components()
    >>> plane = np.eye(3, dtype=np.uint8)
    >>> found.add(0, plane)
    >>> found.add(1, plane[::-1].copy())
    >>> found.add(3, plane)
    >>> found.voxels
    [6, 3]
    """

    def __init__(self) -> None:
        self._count = 0
        self._numbers: list[int] = []  # of the planes with marks
        self._voxels: list[AnyArray] = []  # of the parts in each of them
        self._touching: list[AnyArray] = []  # pairs of pieces, (2, n) each
        self._last: _Plane | None = None

    def add(self, number: int, marked: ByteArray, place: tuple[int, int] = (0, 0)) -> None:
        """Add a plane, or a part of it that holds all of its marks.

        Parameters
        ----------
        marked : (rows, columns), contiguous
            Everything but 0.
        place
            Row and column of its first pixel.
        """
        found = labelled(marked)
        if found is None:
            return
        count, labels, row, column = found
        self._numbers.append(number)
        self._voxels.append(np.bincount(labels.ravel(), minlength=count)[1:])
        plane = _Plane(number, labels, row + place[0], column + place[1], self._count)
        if self._last is not None and self._last.number == number - 1:
            self._join(self._last, plane)
        self._last = plane
        self._count += count - 1

    @property
    def voxels(self) -> list[int]:
        """Voxels of each piece, the largest first."""
        if not self._count:
            return []
        of_root = np.zeros(self._count, np.int64)
        np.add.at(of_root, self._roots(), np.concatenate(self._voxels))
        return sorted(of_root[of_root > 0].tolist(), reverse=True)

    def pieces(self) -> Pieces:
        """Where each piece lies, and of what it consists."""
        roots, piece = np.unique(self._roots(), return_inverse=True)
        plane = np.repeat(self._numbers, [len(parts) for parts in self._voxels]).astype(np.int64)
        first, last, widest = (np.zeros(len(roots), np.int64) for _ in range(3))
        if len(roots):
            first[:] = plane.max()
            np.minimum.at(first, piece, plane)
            np.maximum.at(last, piece, plane)
            planes = int(plane.max()) + 1
            in_plane, at = np.unique(piece * planes + plane, return_inverse=True)
            voxels = np.bincount(at, weights=np.concatenate(self._voxels)).astype(np.int64)
            np.maximum.at(widest, in_plane // planes, voxels)
        return Pieces(first, last, widest, plane, piece)

    def _roots(self) -> AnyArray:
        """The first of all pieces that each one hangs together with."""
        root = np.arange(self._count)
        if not self._touching:
            return root
        one, other = np.concatenate(self._touching, axis=1)
        while True:
            lower, higher = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
            if np.array_equal(lower, higher):
                return root
            np.minimum.at(root, higher, lower)
            while not np.array_equal(root[root], root):
                root = root[root]

    def _join(self, below: _Plane, above: _Plane) -> None:
        """Note which pieces of two planes touch.

        What touches a pixel of a piece that has another right below touches that one in its plane too, so
        only pixels without one below are looked around.
        """
        under = _seen_from(above, below)  # a pixel wider on each side
        straight = under[1:-1, 1:-1]
        marked, met = above.labels > 0, straight > 0
        pairs = [(straight[marked & met], above.labels[marked & met])]
        at = np.flatnonzero(np.pad(marked & ~met, 1))
        width = under.shape[1]
        flat, labels = under.ravel(), np.pad(above.labels, 1).ravel()[at]
        for step in (-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1):
            beside = flat[at + step]
            pairs.append((beside[beside > 0], labels[beside > 0]))
        one, other = _distinct(pairs, int(under.max()) + 1, int(above.labels.max()) + 1)
        self._touching.append(np.stack([one + (below.first - 1), other + (above.first - 1)]))


def labelled(marked: ByteArray) -> tuple[int, AnyArray, int, int] | None:
    """Label what touches within a plane, by faces or corners.

    Parameters
    ----------
    marked : (rows, columns), contiguous
        Everything but 0.

    Returns
    -------
    Number of labels with that of the background, the labels of the box that holds all marks, and row and
    column of its first pixel; None where nothing is marked.
    """
    column, row, columns, rows = cv2.boundingRect(marked)
    if not rows:
        return None
    part = np.ascontiguousarray(marked[row : row + rows, column : column + columns])
    count, labels = cv2.connectedComponents(part, connectivity=8)
    return count, np.asarray(labels), row, column


def _seen_from(plane: _Plane, other: _Plane) -> AnyArray:
    """Labels of another plane where one has its labels, and a pixel around."""
    rows, columns = plane.labels.shape
    seen = np.zeros((rows + 2, columns + 2), plane.labels.dtype)
    row, column = other.row - plane.row + 1, other.column - plane.column + 1
    high, wide = other.labels.shape
    rows_to = slice(max(row, 0), max(row + high, 0))
    columns_to = slice(max(column, 0), max(column + wide, 0))
    target = seen[rows_to, columns_to]
    first_row, first_column = max(-row, 0), max(-column, 0)
    target[...] = other.labels[
        first_row : first_row + target.shape[0], first_column : first_column + target.shape[1]
    ]
    return seen


def _distinct(pairs: list[tuple[AnyArray, AnyArray]], ones: int, others: int) -> tuple[AnyArray, AnyArray]:
    """Each pair once, where a table of all pairs is small; else, where labels are many, as they are."""
    if ones * others > _LARGEST_TABLE:
        first, second = (np.concatenate(labels).astype(np.int64) for labels in zip(*pairs, strict=True))
        return first, second
    seen = np.zeros((ones, others), np.bool_)
    for one, other in pairs:
        seen[one, other] = True
    first, second = np.nonzero(seen)
    return first, second
