"""What a segmentation tells apart: lungs without infection, and infection, no voxel in two of them.

Overlapping segments are allowed, but some viewers lose one. So a lung is what of it is not infected,
and the label says so; whole lungs are measured in the report.
"""

from dataclasses import dataclass

import numpy as np
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import OutputError
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.report.dicom import codes
from infnet_runtime.report.dicom.source import Placement
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT
from infnet_runtime.segment.result import Segmentation


@dataclass(frozen=True)
class Kind:
    """What a segment shows.

    Parameters
    ----------
    side
        Laterality, of a lung whose side is known.
    rgb
        Colour for viewers, 0 to 255.
    """

    label: str
    category: Code
    code: Code
    side: Code | None
    rgb: tuple[int, int, int]


_INFECTION, _GROUND_GLASS, _CONSOLIDATION = 4, 5, 6
_KINDS = {
    RIGHT: Kind("Right lung without infection", codes.ANATOMICAL, codes.LUNG, codes.RIGHT, (130, 180, 230)),
    LEFT: Kind("Left lung without infection", codes.ANATOMICAL, codes.LUNG, codes.LEFT, (120, 200, 160)),
    EITHER: Kind("Lung without infection, side unknown", codes.ANATOMICAL, codes.LUNG, None, (160, 190, 200)),
    _INFECTION: Kind("Infection", codes.ABNORMAL, codes.OPACITY, None, (230, 80, 60)),
    _GROUND_GLASS: Kind("Ground glass", codes.ABNORMAL, codes.GROUND_GLASS_OPACITY, None, (240, 170, 60)),
    _CONSOLIDATION: Kind("Consolidation", codes.ABNORMAL, codes.CONSOLIDATED, None, (200, 50, 50)),
}

_OF_CLASSES = {GROUND_GLASS.value: _GROUND_GLASS, CONSOLIDATION.value: _CONSOLIDATION}
_SIZE = len(_KINDS) + 1


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation.

    Parameters
    ----------
    number
        From 1 on; those without a voxel are left out.
    tracking_uid
        The same in the segmentation and in the report.
    ml : ml
        Of the segment, not of the whole lung.
    mean_hu : HU
        None where the values are no HU.
    """

    number: int
    kind: Kind
    tracking_uid: str
    ml: float
    mean_hu: float | None


def segments(result: Segmentation, placed: Placement) -> tuple[ByteArray, tuple[Segment, ...]]:
    """Number the voxels of a result in the planes of its source images.

    Returns
    -------
    numbers : (slices, rows, columns)
        In the order of the images; 0 where nothing is.
    segments

    Raises
    ------
    OutputError
        If no lung was found.
    """
    has_hu = result.volume.intensity is Intensity.HU
    numbers = np.zeros((len(placed), *placed.plane(result.lungs, 0).shape), np.uint8)
    counts, sums = np.zeros(_SIZE, np.int64), np.zeros(_SIZE)
    for number, plane in enumerate(numbers):
        _mark(plane, result, placed, number)
        box = _box(plane)
        if box is None:
            continue
        found = plane[box].ravel()
        counts += np.bincount(found, minlength=_SIZE)
        if has_hu:
            hu = placed.plane(result.volume.voxels, number)[box]
            sums += np.bincount(found, np.asarray(hu, np.float64).ravel(), minlength=_SIZE)
    present = [kind for kind in _KINDS if counts[kind]]
    if not present:
        raise OutputError(
            "no lung was found in the scan, and a DICOM segmentation shows at least one voxel; a run without "
            "DICOM output says in its JSON report which numbers cannot be given, and why",
            code=8052,
        )
    _renumber(numbers, present)
    voxel_ml = result.volume.voxel_volume_ml
    return numbers, tuple(
        Segment(
            number,
            _KINDS[kind],
            generate_uid(prefix=None),
            float(counts[kind] * voxel_ml),
            float(sums[kind] / counts[kind]) if has_hu else None,
        )
        for number, kind in enumerate(present, 1)
    )


def _mark(plane: ByteArray, result: Segmentation, placed: Placement, number: int) -> None:
    """Kinds of the voxels of one plane."""
    plane[...] = placed.plane(result.lungs, number)
    mask = placed.plane(result.mask, number)
    if not mask.any():
        return
    if result.classes is None:
        plane[mask > 0] = _INFECTION
        return
    classes = placed.plane(result.classes, number)
    for label, kind in _OF_CLASSES.items():
        plane[(mask > 0) & (classes == label)] = kind


def _renumber(numbers: ByteArray, present: list[int]) -> None:
    """Kinds to numbers from 1 on, in place."""
    from infnet_runtime.opencv import cv2  # NumPy makes indices of eight bytes first

    table = np.zeros(256, np.uint8)
    table[present] = np.arange(1, len(present) + 1)
    for plane in numbers:
        cv2.LUT(plane, table, dst=plane)


def _box(plane: ByteArray) -> tuple[slice, slice] | None:
    """Rows and columns with something in them."""
    rows = np.flatnonzero(plane.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(plane.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
