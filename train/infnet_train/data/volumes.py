"""Slices of labelled volumes: NIfTI files of a scan and of its infection, cropped to the lungs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.io.lung_masks import read_lungs
from infnet_runtime.io.nifti import read_labels, read_nifti
from infnet_runtime.lungs import find_lungs, lung_box, slices_with_lung
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.grid import Grid
from infnet_runtime.slices.preprocess import to_grey
from infnet_train.data.classes import IGNORED, classes_by
from infnet_train.data.masks import LabelMeaning
from infnet_train.data.neighbours import neighbours_of
from infnet_train.data.pictures import DataError, mask_name
from infnet_train.data.prepared import PreparedSlice

# In labels of a second reader: a slice that was not read.
_NOT_READ = 255


def slices_of_volume(
    ct: Path,
    infection: Path,
    lungs: Path | None = None,
    spec: PreprocessSpec | None = None,
    *,
    second_reader: Path | None = None,
    neighbour_step_mm: float = 0.0,
    meaning: LabelMeaning | None = None,
) -> Iterator[PreparedSlice]:
    """The slices of a volume that hold lung, cropped to the lungs as at inference, healthy ones too.

    Parameters
    ----------
    ct, infection, lungs
        NIfTI files on one grid; every label but 0 is infection. Lungs are found where none are given.
    second_reader
        Labels of another reader: 0, 1, and 255 where nothing was read. What only one of both calls infected
        is ignored.
    neighbour_step_mm : mm
        How far the planes below and above are; 0 leaves them out.
    meaning
        Which labels are infection and which do not count, where not every one but 0 is infection; and of
        which class.

    Raises
    ------
    InfnetError
        If a file is missing or refused, or the grids differ.
    """
    spec = spec or PreprocessSpec()
    scan = read_nifti(ct).volume
    meaning = meaning or LabelMeaning()
    labels = labels_on(scan, infection)
    infected, disputed = meaning.of(labels)
    classes = classes_by(meaning, labels) if meaning.has_classes else None
    if second_reader is not None:
        other = labels_on(scan, second_reader)
        disputed |= (other != _NOT_READ) & (infected != (other != 0))
    if classes is not None:
        classes[disputed] = IGNORED
    voxels, spacing_mm = scan.to_lps(), scan.lps_spacing_mm
    if lungs is None:
        lung_labels = find_lungs(voxels, spacing_mm, scan.intensity)
    else:
        lung_labels = read_lungs(lungs, scan).to_lps()
    box = lung_box(lung_labels, spacing_mm, spec.crop_margin_mm)
    name = mask_name(ct.name.split(".")[0].removesuffix("_ct"))

    def grey_of(k: int) -> ByteArray:
        grey = to_grey(voxels[k][box], scan.intensity, spec)
        return np.rint(grey * 255).astype(np.uint8)

    def mask_of(mask: BoolArray, k: int) -> ByteArray:
        return np.where(mask[k][box], 255, 0).astype(np.uint8)

    for k in slices_with_lung(lung_labels):
        below = above = None
        if neighbour_step_mm:
            places = neighbours_of(int(k), len(voxels), spacing_mm[0], neighbour_step_mm)
            below, above = (grey_of(n) for n in places)
        ignore = mask_of(disputed, k) if disputed[k][box].any() else None
        kinds = None if classes is None else np.ascontiguousarray(classes[k][box])
        yield PreparedSlice(f"{name}_{k:03d}", grey_of(k), mask_of(infected, k), ignore, below, above, kinds)


def labels_on(scan: CtVolume, file: Path) -> AnyArray:
    """Labels of a file that lies on the grid of a scan, stored in any orientation and with any scaling.

    Returns
    -------
    (slice, row, column), bytes or 32-bit integers

    Raises
    ------
    InfnetError
        If the file is missing or refused, or lies on another grid.
    """
    if not file.is_file():
        raise DataError(f"{scan.source} has no mask: expected {file}", code=3112)
    geometry, labels = read_labels(file)
    grid = Grid(labels.shape, geometry.affine)
    if not grid.is_same_place(scan.grid):
        apart_mm = grid.corner_distance_mm(scan.grid)
        raise DataError(
            f"{file} is {grid.lps_shape} (slices, rows, columns), the scan {scan.source} "
            f"{scan.grid.lps_shape}, and their corners are up to {apart_mm:.2f} mm apart: they lie on "
            "different grids; resample the labels to the scan",
            code=3113,
        )
    return grid.to_lps(labels)
