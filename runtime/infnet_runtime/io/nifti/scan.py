"""A CT volume from a NIfTI file, and its mask in the same place."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from infnet_runtime.arrays import AnyArray
from infnet_runtime.io.mask_bytes import LabelNames, mask_bytes, probability_map
from infnet_runtime.io.nifti.header import Geometry
from infnet_runtime.io.nifti.voxels import read_stored, scaled
from infnet_runtime.io.nifti.write import (
    checked_name,
    write_labels,
    write_named_labels,
    write_probability,
)
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.ids import ScanId


@dataclass(frozen=True, eq=False)
class NiftiScan:
    """A CT volume from a NIfTI file, and the header that its mask inherits.

    Parameters
    ----------
    volume
        The voxels, scaling applied.
    header : 352 bytes
        As read; ``write_mask`` repeats its geometry byte for byte.
    geometry
        What the header says, checked.
    """

    volume: CtVolume
    header: bytes
    geometry: Geometry
    mask_suffix: ClassVar[str] = ".nii.gz"

    def write_mask(self, path: Path, mask: AnyArray) -> None:
        """Write a mask with shape, affine and orientation of the scan.

        Equal masks give equal bytes: no time and no name is stored.

        Parameters
        ----------
        path
            Ends with ``.nii.gz`` or ``.nii``.
        mask : (i, j, k)
            Booleans or labels 0..255 in the order of the file.

        Raises
        ------
        OutputError
            If the mask does not fit the scan or cannot be written; an earlier file stays as it was.
        """
        labels = mask_bytes(mask, self.volume)
        write_labels(checked_name(path), labels, self.header, self.geometry.byte_order)

    def write_classes(self, path: Path, classes: AnyArray, names: LabelNames) -> None:
        """Write a label map as a mask is written, with what its values mean in the file.

        Parameters
        ----------
        names
            Value to name and code.

        Raises
        ------
        OutputError
            As of :meth:`write_mask`.
        """
        labels = mask_bytes(classes, self.volume)
        write_named_labels(checked_name(path), labels, self.header, self.geometry.byte_order, names)

    def write_probability(self, path: Path, probability: AnyArray) -> None:
        """Write probabilities with shape, affine and orientation of the scan, as float32.

        Parameters
        ----------
        path
            Ends with ``.nii.gz`` or ``.nii``.
        probability : (i, j, k), float16
            In the order of the file.

        Raises
        ------
        OutputError
            If they do not fit the scan or cannot be written.
        """
        values = probability_map(probability, self.volume)
        write_probability(checked_name(path), values, self.header, self.geometry.byte_order)


def read_nifti(
    path: Path,
    *,
    intensity: Intensity | None = None,
    max_bytes: int | None = None,
    assume_orientation: str | None = None,
) -> NiftiScan:
    """Read a CT volume.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file; which of them it is, is decided by its first bytes.
    intensity
        What the values mean; decided from the values where absent.
    max_bytes
        The most bytes of voxels a file may announce.
    assume_orientation
        Where the stored axes point to, such as ``LAS``, for files that do not say.

    Raises
    ------
    InputError
        If the file is damaged, too large or no chest CT.
    GeometryError
        If its geometry cannot be trusted.
    """
    digest = hashlib.sha256()
    header, geometry, stored = read_stored(
        path, max_bytes=max_bytes, assume_orientation=assume_orientation, digest=digest
    )
    voxels = scaled(stored, geometry, path.name)
    meaning = decide_intensity(voxels, source=path.name, forced=intensity)
    identity = ScanId(path.name, digest.hexdigest())
    volume = CtVolume(voxels, geometry.affine, meaning, identity, has_size=geometry.has_size)
    return NiftiScan(volume, header, geometry)
