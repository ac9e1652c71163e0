"""A CT volume: its voxels in stored order, the grid they lie on, and what their values mean.

``CtVolume`` keeps the voxels as the file stores them; the way to LPS and back is that of its grid
(:mod:`~infnet_runtime.scan.grid`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, overload

import numpy as np

from infnet_runtime.arrays import Affine, AnyArray
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.scan.acquisition import Acquisition
from infnet_runtime.scan.grid import Grid, check_affine
from infnet_runtime.scan.ids import ScanId
from infnet_runtime.scan.rescaled import Voxels


class Intensity(StrEnum):
    """What a voxel value means."""

    HU = "hu"
    WINDOWED = "windowed"  # 8-bit grey, lung window, 0..255


@dataclass(frozen=True, eq=False, init=False)
class CtVolume:
    """CT voxels in stored order with their place in the patient.

    Parameters
    ----------
    voxels : (i, j, k)
        Values in the order of the file; the meaning is given by ``intensity``. Numbers that need a slope and
        an intercept come through :func:`~infnet_runtime.scan.rescaled.rescaled`.
    affine : (4, 4), mm
        From voxel index to NIfTI world coordinates (x to the patient's right, y to the front, z to the head).
    intensity
        Hounsfield units or 8-bit windowed grey.
    source
        Name of the scan for messages, or all that is known of which scan it is.
    has_size
        Whether the voxel size means anything; see :class:`~infnet_runtime.scan.grid.Grid`.
    acquisition
        How it was taken, where its files say so.

    Raises
    ------
    GeometryError
        If the voxels are not a 3-D array or the affine gives no volume.
    InputError
        If a voxel is not finite, windowed grey leaves 0..255, or the intensity is none.
    """

    voxels: Voxels
    grid: Grid
    intensity: Intensity
    id: ScanId
    acquisition: Acquisition | None

    def __init__(
        self,
        voxels: Voxels,
        affine: Affine,
        intensity: Intensity,
        source: str | ScanId,
        *,
        has_size: bool = True,
        acquisition: Acquisition | None = None,
    ) -> None:
        identity = ScanId(source) if isinstance(source, str) else source
        _check_voxels(voxels, identity.name)
        check_affine(affine, f"the affine of {identity.name}")
        self._take(voxels, Grid(voxels.shape, affine, has_size), intensity, identity, acquisition)

    @classmethod
    def on_grid(cls, voxels: Voxels, grid: Grid, intensity: Intensity, name: str) -> Self:
        """Volume on a grid that a program has made, and all that the grid says.

        Parameters
        ----------
        voxels : (i, j, k)
            Of the shape of the grid.
        name
            Of the scan for messages.

        Raises
        ------
        GeometryError
            If the voxels have another shape.
        InputError
            As of the constructor.
        """
        _check_voxels(voxels, name)
        if voxels.shape != grid.shape:
            raise GeometryError(
                f"{name} has the shape {voxels.shape}, expected {grid.shape} of its grid", code=3033
            )
        volume = cls.__new__(cls)
        volume._take(voxels, grid, intensity, ScanId(name))
        return volume

    def _take(
        self,
        voxels: Voxels,
        grid: Grid,
        intensity: Intensity,
        identity: ScanId,
        acquisition: Acquisition | None = None,
    ) -> None:
        intensity = known_intensity(intensity, identity.name)
        check_values(voxels, intensity, identity.name)
        # What is frozen is set by way of object, as the generated constructor does it.
        taken = {"voxels": voxels, "grid": grid, "intensity": intensity, "id": identity}
        for name, value in {**taken, "acquisition": acquisition}.items():
            object.__setattr__(self, name, value)

    @property
    def source(self) -> str:
        """Name of the scan for messages."""
        return self.id.name

    @property
    def affine(self) -> Affine:
        """From voxel index to NIfTI world coordinates, (4, 4), mm."""
        return self.grid.affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j and k, in mm."""
        return self.grid.spacing_mm

    @property
    def lps_spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows and columns, in mm."""
        return self.grid.lps_spacing_mm

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL; nominal where the grid has no size, see ``grid.voxel_ml``."""
        return self.grid.voxel_mm3 / 1000.0

    @overload
    def to_lps(self, array: None = None) -> Voxels: ...

    @overload
    def to_lps(self, array: AnyArray) -> AnyArray: ...

    def to_lps(self, array: AnyArray | None = None) -> Voxels:
        """View of the voxels, or of an array on the same grid, in LPS order; see :meth:`Grid.to_lps`.

        Parameters
        ----------
        array : (i, j, k)
            For example a mask in the order of the file; the voxels where absent.
        """
        return self.grid.to_lps(self.voxels if array is None else array, source=self.source)

    def from_lps(self, array: AnyArray) -> AnyArray:
        """View of an LPS array in the order of the file; see :meth:`Grid.from_lps`."""
        return self.grid.from_lps(array, source=self.source)


def known_intensity(intensity: Intensity | str, source: str) -> Intensity:
    """The member itself: the word that a host passes is equal to it, and not it.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        return Intensity(intensity)
    except ValueError as error:
        raise InputError(
            f"the intensity of {source} is {intensity!r}, expected Intensity.HU or Intensity.WINDOWED",
            code=3212,
        ) from error


def _check_voxels(voxels: Voxels, source: str) -> None:
    if voxels.ndim != 3 or voxels.size == 0 or voxels.dtype.kind not in "iuf":
        raise GeometryError(
            f"expected a 3-D array of numbers, {source} has shape {voxels.shape} and type {voxels.dtype}; "
            "give one volume of one channel",
            code=3030,
        )


def check_values(voxels: Voxels, intensity: Intensity, source: str) -> None:
    """Refuse values that no voxel can have, of a volume or of a part of it.

    Raises
    ------
    InputError
        If one is not finite, or windowed grey leaves 0..255.
    """
    refuse_non_finite(voxels, source)
    if intensity is Intensity.WINDOWED and voxels.dtype != np.uint8:
        lowest, highest = voxels.min(), voxels.max()
        if lowest < 0 or highest > 255:
            raise InputError(
                f"{source} was declared windowed, expected values 0..255, found {lowest:g}..{highest:g}; "
                "read it as hu, or export the picture again with a lung window",
                code=3034,
            )


def slabs(voxels: Voxels) -> Iterator[AnyArray]:
    """Step through a volume along its last axis, so that a check needs the memory of one slab only."""
    for k in range(voxels.shape[-1]):
        yield voxels[..., k]


def refuse_non_finite(voxels: Voxels, source: str) -> None:
    """Refuse NaN and infinite voxels, and say how many there are.

    Raises
    ------
    InputError
        If a voxel is not finite.
    """
    if voxels.dtype.kind != "f" or (np.isfinite(voxels.min()) and np.isfinite(voxels.max())):
        return
    bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in slabs(voxels))
    if bad:
        raise InputError(
            f"{bad} of {voxels.size} voxels of {source} are not finite (NaN or infinite); a volume in ml "
            "cannot be trusted. Convert the scan again from its DICOM files, or fill these voxels with -1024 "
            "HU",
            code=3032,
        )
