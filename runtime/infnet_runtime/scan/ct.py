"""A CT volume in stored order, and the way to LPS and back.

``CtVolume`` keeps the voxels as the file stores them. Everything behind the readers works in LPS with axes
(slice, row, column): slices foot to head, rows front to back, columns from the patient's right to left.
``to_lps`` and ``from_lps`` are views, so a mask that has gone there and back lies exactly where the scan's
voxels lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from infnet_runtime.arrays import Affine, AnyArray
from infnet_runtime.errors import GeometryError, InputError

# Axes closer than this to one plane are damage: |det| over the product of the column lengths is 1 for right
# angles and 0.87 for a gantry tilted by 30 degrees, the most a CT does.
_LEAST_SQUARENESS = 0.5


class Intensity(StrEnum):
    """What a voxel value means."""

    HU = "hu"
    WINDOWED = "windowed"  # 8-bit grey, lung window, 0..255


@dataclass(frozen=True, eq=False)
class CtVolume:
    """CT voxels in stored order with their place in the patient.

    Parameters
    ----------
    voxels : (i, j, k)
        Values in the order of the file; the meaning is given by ``intensity``.
    affine : (4, 4), mm
        From voxel index to NIfTI world coordinates (x to the patient's right, y to the front, z to the head).
    intensity
        Hounsfield units or 8-bit windowed grey.
    source
        Name of the scan for messages.

    Raises
    ------
    GeometryError
        If the voxels are not a 3-D array or the affine gives no volume.
    InputError
        If a voxel is not finite, or windowed grey leaves 0..255.
    """

    voxels: AnyArray
    affine: Affine
    intensity: Intensity
    source: str

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.size == 0 or self.voxels.dtype.kind not in "iuf":
            raise GeometryError(
                f"expected a 3-D array of numbers, {self.source} has shape {self.voxels.shape} and type "
                f"{self.voxels.dtype}; give one volume of one channel",
                code=3030,
            )
        check_affine(self.affine, f"the affine of {self.source}")
        refuse_non_finite(self.voxels, self.source)
        if self.intensity is Intensity.WINDOWED and self.voxels.dtype != np.uint8:
            lowest, highest = self.voxels.min(), self.voxels.max()
            if lowest < 0 or highest > 255:
                raise InputError(
                    f"{self.source} was declared windowed, expected values 0..255, found "
                    f"{lowest:g}..{highest:g}; read it as hu, or export the picture again with a lung window",
                    code=3034,
                )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k, in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def lps_spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows and columns, in mm."""
        spacing_mm = self.spacing_mm
        slice_axis, row_axis, column_axis = lps_axes(self.affine)[0]
        return spacing_mm[slice_axis], spacing_mm[row_axis], spacing_mm[column_axis]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL; right for tilted (sheared) grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_lps(self, array: AnyArray | None = None) -> AnyArray:
        """View of the voxels, or of an array on the same grid, in LPS order.

        Parameters
        ----------
        array : (i, j, k)
            For example a mask in the order of the file; the voxels where absent.

        Returns
        -------
        (slice, row, column)

        Raises
        ------
        GeometryError
            If ``array`` does not have the shape of the voxels.
        """
        if array is None:
            array = self.voxels
        if array.shape != self.voxels.shape:
            raise GeometryError(
                f"expected shape {self.voxels.shape} of {self.source}, found {array.shape}; both must lie "
                "on the same grid",
                code=3033,
            )
        axes, flips = lps_axes(self.affine)
        return array.transpose(axes)[flips]  # (i, j, k) -> (slice, row, column)

    def from_lps(self, array: AnyArray) -> AnyArray:
        """View of an LPS array in the order of the file; the inverse of ``to_lps``.

        Parameters
        ----------
        array : (slice, row, column)
            Any array on the grid of this volume.

        Returns
        -------
        (i, j, k)

        Raises
        ------
        GeometryError
            If ``array`` does not have the LPS shape of this volume.
        """
        axes, flips = lps_axes(self.affine)
        expected = tuple(self.voxels.shape[axis] for axis in axes)
        if array.shape != expected:
            raise GeometryError(
                f"expected LPS shape {expected} of {self.source}, found {array.shape}; both must lie on the "
                "same grid",
                code=3033,
            )
        return array[flips].transpose(np.argsort(axes))  # (slice, row, column) -> (i, j, k)


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


def slabs(voxels: AnyArray) -> Iterator[AnyArray]:
    """Step through a volume along its last axis, so that a check needs the memory of one slab only."""
    for k in range(voxels.shape[-1]):
        yield voxels[..., k]


def refuse_non_finite(voxels: AnyArray, source: str) -> None:
    """Refuse NaN and infinite voxels, and say how many there are.

    Raises
    ------
    InputError
        If a voxel is not finite.
    """
    if voxels.dtype.kind != "f":
        return
    bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in slabs(voxels))
    if bad:
        raise InputError(
            f"{bad} of {voxels.size} voxels of {source} are not finite (NaN or infinite); a volume in ml "
            "cannot be trusted. Convert the scan again from its DICOM files, or fill these voxels with "
            "-1024 HU",
            code=3032,
        )
