"""The grid of a scan: how many voxels there are, and where each lies in the patient.

Everything behind the readers works in LPS with axes (slice, row, column): slices foot to head, rows front to
back, columns from the patient's right to left. ``to_lps`` and ``from_lps`` are views, so a mask that has gone
there and back lies exactly where the scan's voxels lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, overload

import numpy as np

from infnet_runtime.arrays import Affine, AnyArray, DoubleArray
from infnet_runtime.errors import GeometryError
from infnet_runtime.scan.rescaled import Voxels

# Axes closer than this to one plane are damage: |det| over the product of the column lengths is 1 for right
# angles and 0.87 for a gantry tilted by 30 degrees, the most a CT does.
_LEAST_SQUARENESS = 0.5
# Programs that write the same grid differ by float32 rounding of the affine; a voxel apart is another grid.
_SAME_PLACE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape of a scan in stored order, and its place in the patient.

    Parameters
    ----------
    shape : (i, j, k)
        Number of voxels along each stored axis.
    affine : (4, 4), mm
        From voxel index to NIfTI world coordinates (x to the patient's right, y to the front, z to the head).
    has_size
        Whether the voxel size means anything. A picture has none: its affine gives sides and a nominal
        spacing, and no millilitres.
    is_stated
        Whether a program that knows the size has said it, as with :meth:`from_spacing`. Else an affine that
        is an identity is one that was lost.

    Raises
    ------
    GeometryError
        If there are not three axes of voxels, or the affine gives no volume.
    """

    shape: tuple[int, ...]
    affine: Affine
    has_size: bool = True
    is_stated: bool = False

    def __post_init__(self) -> None:
        # A host's list or its numpy integers would never equal the shape of an array.
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        affine = np.array(self.affine, np.float64)  # its own: a host may write the next scan's into the same
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError(
                f"expected a grid with three axes of voxels, found the shape {self.shape}; give one volume "
                "of one channel",
                code=3030,
            )
        check_affine(self.affine, "the affine of a grid")

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        orientation: str = "SPL",
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Self:
        """Grid of a buffer whose axes run along the body's; all that is given is in the order of its axes.

        Parameters
        ----------
        shape : (i, j, k)
            Number of voxels along each axis of the buffer, the first being the slowest in C order.
        spacing_mm : (i, j, k), mm
            Distance between voxel centres along each axis.
        orientation : (i, j, k)
            Where each axis points to: ``S`` head or ``I`` feet, ``P`` back or ``A`` front, ``L`` the left of
            the patient or ``R`` the right. In C order (slice, row, column), slices foot to head, rows front
            to back and columns from the patient's right to left are ``SPL``; slices that run to the feet
            ``IPL``.
        origin_mm : (i, j, k), mm
            Place of the first voxel's centre along each axis, growing where the axis points to. Of DICOM's
            Image Position (x, y, z) in the order ``SPL`` it is (z, y, x).

        Raises
        ------
        GeometryError
            If there are not three axes, a spacing is not from 0.01 to 100 mm, an axis of the body is named
            twice or not at all, or the origin is not finite.

        Examples
        --------
        >>> grid = Grid.from_spacing((200, 512, 512), (1.0, 0.7, 0.7), "IPL", origin_mm=(40, -180, -175))
        >>> grid.orientation, grid.lps_spacing_mm
        ('IPL', (1.0, 0.7, 0.7))
        """
        _check_spacing(spacing_mm)
        affine = np.zeros((4, 4))
        affine[3, 3] = 1.0
        for axis, (world, sign) in enumerate(_directions(orientation)):
            affine[world, axis] = sign * spacing_mm[axis]
            affine[world, 3] = sign * _three(origin_mm, "an origin")[axis] + 0.0  # without a negative 0
        return cls(tuple(shape), affine, is_stated=True)

    def without_size(self) -> Self:
        """The same grid, whose voxel size is not to be trusted."""
        return replace(self, has_size=False)

    @property
    def lps_shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        slice_axis, row_axis, column_axis = lps_axes(self.affine)[0]
        return self.shape[slice_axis], self.shape[row_axis], self.shape[column_axis]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k, in mm; nominal without a size."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def lps_spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows and columns, in mm; nominal without a size."""
        spacing_mm = self.spacing_mm
        slice_axis, row_axis, column_axis = lps_axes(self.affine)[0]
        return spacing_mm[slice_axis], spacing_mm[row_axis], spacing_mm[column_axis]

    @property
    def voxel_mm3(self) -> float:
        """Volume that the affine gives a voxel; right for tilted (sheared) grids, nominal without a size."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def voxel_ml(self) -> float | None:
        """Volume of one voxel in mL, None without a size."""
        return self.voxel_mm3 / 1000.0 if self.has_size else None

    @property
    def pixel_mm2(self) -> float | None:
        """Area of one pixel of an axial slice in mm2, None without a size."""
        _, row_axis, column_axis = lps_axes(self.affine)[0]
        across = np.cross(self.affine[:3, row_axis], self.affine[:3, column_axis])
        return float(np.linalg.norm(across)) if self.has_size else None

    @property
    def plane_mm(self) -> float | None:
        """From the plane of one axial slice to that of the next in mm, None without a size."""
        return None if self.pixel_mm2 is None else self.voxel_mm3 / self.pixel_mm2

    @property
    def slice_mm(self) -> float | None:
        """From one axial slice to the next along the body axis in mm, None without a size."""
        slice_axis = lps_axes(self.affine)[0][0]
        return float(abs(self.affine[2, slice_axis])) if self.has_size else None

    @property
    def slice_z_mm(self) -> DoubleArray | None:
        """Place of the centre of each axial slice along the body axis in mm, upwards, from the feet.

        None without a size.
        """
        if not self.has_size:
            return None
        axes, (flip, _, _) = lps_axes(self.affine)
        middle = (np.array(self.shape) - 1) / 2
        middle[axes[0]] = 0
        first = float(self.affine[2, :3] @ middle + self.affine[2, 3])
        z_mm: DoubleArray = first + self.affine[2, axes[0]] * np.arange(self.shape[axes[0]])
        return z_mm[flip]

    @property
    def orientation(self) -> str:
        """Where the stored axes point to, see :func:`orientation_code`."""
        return orientation_code(self.affine)

    @overload
    def to_lps(self, array: AnyArray, *, source: str = ...) -> AnyArray: ...

    @overload
    def to_lps(self, array: Voxels, *, source: str = ...) -> Voxels: ...

    def to_lps(self, array: Voxels, *, source: str = "the grid") -> Voxels:
        """View of an array on this grid in LPS order.

        Parameters
        ----------
        array : (i, j, k)
            For example a mask in the order of the file.
        source
            What the message calls the owner of the grid.

        Returns
        -------
        (slice, row, column)

        Raises
        ------
        GeometryError
            If ``array`` does not have the shape of the grid.
        """
        if array.shape != self.shape:
            raise GeometryError(
                f"expected shape {self.shape} of {source}, found {array.shape}; both must lie on the same "
                "grid",
                code=3033,
            )
        axes, flips = lps_axes(self.affine)
        return array.transpose(axes)[flips]  # (i, j, k) -> (slice, row, column)

    def from_lps(self, array: AnyArray, *, source: str = "the grid") -> AnyArray:
        """View of an LPS array in stored order; the inverse of ``to_lps``.

        Parameters
        ----------
        array : (slice, row, column)
            Any array on this grid.
        source
            What the message calls the owner of the grid.

        Returns
        -------
        (i, j, k)

        Raises
        ------
        GeometryError
            If ``array`` does not have the LPS shape of the grid.
        """
        axes, flips = lps_axes(self.affine)
        if array.shape != self.lps_shape:
            raise GeometryError(
                f"expected LPS shape {self.lps_shape} of {source}, found {array.shape}; both must lie on the "
                "same grid",
                code=3033,
            )
        return array[flips].transpose(np.argsort(axes))  # (slice, row, column) -> (i, j, k)

    def is_same_place(self, other: "Grid") -> bool:
        """Whether another grid, stored in whatever order, has the same voxels in the same places."""
        return self.lps_shape == other.lps_shape and self.corner_distance_mm(other) <= _SAME_PLACE_MM

    def corner_distance_mm(self, other: "Grid") -> float:
        """Largest distance from a corner of this grid to the nearest corner of the other, in mm.

        It does not see in which order the voxels are stored, and it grows with a wrong spacing as a
        comparison of affines entry by entry does not: 0.05 mm a voxel are 26 mm at the end of 512.
        """
        own, others = self._corners_mm(), other._corners_mm()
        gaps = np.linalg.norm(own[:, :, None] - others[:, None, :], axis=0)
        return float(gaps.min(axis=1).max())

    def _corners_mm(self) -> DoubleArray:
        """Centres of the eight outermost voxels, (3, 8)."""
        ends = [(0, n - 1) for n in self.shape]
        indices = np.array(np.meshgrid(*ends, [1.0], indexing="ij")).reshape(4, -1)
        corners: DoubleArray = (self.affine @ indices)[:3]
        return corners


_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}  # of RAS
_SPACING_MM = (0.01, 100.0)  # as of files


def _three(numbers: Sequence[float], what: str) -> tuple[float, float, float]:
    try:
        first, second, third = (float(one) for one in numbers)
    except (TypeError, ValueError) as error:
        raise GeometryError(
            f"{what} of {numbers}, expected three numbers, one for each axis of the buffer", code=3030
        ) from error
    return first, second, third


def _check_spacing(spacing_mm: Sequence[float]) -> None:
    lowest, highest = _SPACING_MM
    three = _three(spacing_mm, "a spacing")
    if not all(lowest <= mm <= highest for mm in three):  # false for NaN
        raise GeometryError(
            f"spacing is {three} mm, expected {lowest:g} to {highest:g} mm along each axis of the buffer; "
            "say where an axis points to with its letter, not with a sign",
            code=3014,
        )


def _directions(orientation: object) -> list[tuple[int, int]]:
    """World axis (x, y, z of NIfTI) and sign of each stored axis."""
    letters = orientation if isinstance(orientation, str | tuple | list) else ""
    found = [_LETTERS[letter] for letter in letters if letter in _LETTERS]
    if len(letters) != 3 or sorted(world for world, _ in found) != [0, 1, 2]:
        raise GeometryError(
            f"orientation is {orientation!r}, expected one letter of S or I, one of P or A and one of L or "
            "R, in the order of the buffer's axes, such as SPL: slices to the head, rows to the back, "
            "columns to the patient's left",
            code=3016,
        )
    return found


def check_affine(affine: Affine, what: str) -> None:
    """Refuse an affine that gives no volume.

    Raises
    ------
    GeometryError
        If the affine is not (4, 4), not finite, or its axes lie in one plane.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError(
            f"expected a (4, 4) matrix of finite numbers, {what} is {affine.tolist()}; convert the scan "
            "again from its DICOM files",
            code=3031,
        )
    matrix = affine[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if not lengths.all() or not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
        squareness = 0.0
    else:
        squareness = float(abs(np.linalg.det(matrix / lengths)))
    if squareness < _LEAST_SQUARENESS:
        raise GeometryError(
            f"{what} is singular: its axes do not span a volume ({matrix.tolist()}); convert the scan again "
            "from its DICOM files",
            code=3031,
        )


def is_identity(affine: Affine) -> bool:
    """Whether an affine is one that programs write when they know none: voxels of 1 mm from the origin on.

    The axes may run either way: the identity of NIfTI, or that of ITK (x and y negative).

    Examples
    --------
    >>> is_identity(np.diag([-1.0, -1.0, 1.0, 1.0])), is_identity(np.diag([-0.7, -0.7, 5.0, 1.0]))
    (True, False)
    """
    matrix = np.sort(np.abs(affine[:3, :3]), axis=0)
    return not affine[:3, 3].any() and np.array_equal(matrix, [[0] * 3, [0] * 3, [1] * 3])


def lps_axes(affine: Affine) -> tuple[tuple[int, int, int], tuple[slice, slice, slice]]:
    """Stored axes nearest to slice, row and column, and the slices that turn them to LPS.

    Each stored axis goes to the world axis it is nearest to, the most certain one first. This is the
    assignment of ``nibabel.orientations.io_orientation``, so that both agree on oblique scans too.

    Parameters
    ----------
    affine : (4, 4)
        From voxel index to NIfTI world coordinates.

    Returns
    -------
    axes, flips

    Examples
    --------
    >>> lps_axes(np.diag([-0.7, -0.7, 5.0, 1.0]))[0]
    (2, 1, 0)
    """
    matrix = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    u, _, vt = np.linalg.svd(matrix)
    rotation = u @ vt  # the nearest matrix without shear
    stored_axis = [0, 0, 0]
    direction = [1, 1, 1]
    for axis in np.argsort(-(rotation**2).max(axis=0), kind="stable"):
        world = int(np.argmax(np.abs(rotation[:, axis])))
        stored_axis[world] = int(axis)
        direction[world] = 1 if rotation[world, axis] > 0 else -1
        rotation[world] = 0.0
    # Slices rise with z (head); rows and columns run against y (front) and x (the patient's right).
    ascending = (direction[2] > 0, direction[1] < 0, direction[0] < 0)
    first, second, third = (slice(None) if up else slice(None, None, -1) for up in ascending)
    return (stored_axis[2], stored_axis[1], stored_axis[0]), (first, second, third)


def orientation_code(affine: Affine) -> str:
    """Where each stored axis points to, as in nibabel: ``LPS`` runs to the left, to the back and to the head.

    Examples
    --------
    >>> orientation_code(np.diag([-0.7, -0.7, 5.0, 1.0]))
    'LPS'
    """
    axes, flips = lps_axes(affine)
    letters = {
        axis: names[flip.step == -1]
        for axis, flip, names in zip(axes, flips, ("SI", "PA", "LR"), strict=True)
    }
    return letters[0] + letters[1] + letters[2]
