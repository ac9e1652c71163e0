"""Planes in their order along the normal, and the affine that follows; refused where there is none.

Only Image Position and Image Orientation order slices: names, instance numbers, slice locations and
thicknesses contradict them often enough.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

import numpy as np

from infnet_runtime.arrays import Affine, DoubleArray
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.dicom.headers import Frame, Image
from infnet_runtime.scan.acquisition import Gap

_UNIT_TOLERANCE = 1e-3  # direction cosines are stated with 4 digits or more
_SAME_COSINES = 1e-3
_SAME_SPACING = 1e-3  # of the spacing
_SPACING_MM = (0.01, 100.0)  # as of other files
# Scanners state positions with two decimals, some with one. A missing slice is off by half a step or more.
_JITTER_MM, _JITTER_STEPS = 0.11, 0.2
_SAME_PLACE_MM = 0.005
_LEAST_TILT_DEGREES = 0.2
_FARTHEST_MM = 1e5


@dataclass(frozen=True)
class Plane:
    """One plane of a file, the first being 0."""

    image: Image
    number: int

    @property
    def frame(self) -> Frame:
        """What the file says of it."""
        return self.image.frames[self.number]

    @property
    def name(self) -> str:
        """For messages."""
        return (
            self.image.name
            if len(self.image.frames) == 1
            else f"frame {self.number + 1} of {self.image.name}"
        )


@dataclass(frozen=True)
class Ordered:
    """Planes of a volume, and where they lie.

    Parameters
    ----------
    affine : (4, 4), mm
        From (column, row, plane) to NIfTI world coordinates.
    gaps
        Where planes are missing, if that was allowed.
    """

    planes: tuple[Plane, ...]
    affine: Affine
    gaps: tuple[Gap, ...] = ()


def ordered(planes: Sequence[Plane], source: str, *, allow_gaps: bool = False) -> Ordered:
    """Order planes, and say where they lie.

    Parameters
    ----------
    allow_gaps
        Take a series in which whole planes are missing.

    Raises
    ------
    GeometryError
        If a plane does not say where it is, two lie at one place, planes are missing, or the gantry was
        tilted.
    InputError
        If there is only one plane.
    """
    for plane in planes:
        _check_geometry(plane, source)
    _check_alike(planes, source)
    if len(planes) == 1:
        raise InputError(
            f"{source} is a single slice ({planes[0].name}), and one slice is no volume; give the whole "
            "series, or the slice as a picture in the lung window (.png), which gives no millilitres",
            code=3269,
        )
    row, column = np.reshape(planes[0].frame.orientation or (), (2, 3))
    # Rounded cosines are not quite of length 1, and the spacing alone says how far apart pixels are.
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    positions = np.array([plane.frame.position for plane in planes])
    places = positions @ normal
    order = np.argsort(places, kind="stable")
    sorted_planes = tuple(planes[k] for k in order)
    places, positions = places[order], positions[order]
    _refuse_same_place(sorted_planes, places, source)
    _refuse_mixed(sorted_planes, source)
    _refuse_tilt(sorted_planes, positions, normal, source)
    gaps, steps = _gaps(sorted_planes, places, source, allow_gaps=allow_gaps)
    spacing = planes[0].frame.spacing or ()
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * spacing[1], column * spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / steps
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # from LPS to the RAS of NIfTI
    return Ordered(sorted_planes, affine + 0.0, gaps)  # without a negative 0


def _check_geometry(plane: Plane, source: str) -> None:
    for keyword, tag, value, count in (
        ("ImagePositionPatient", "0020,0032", plane.frame.position, 3),
        ("ImageOrientationPatient", "0020,0037", plane.frame.orientation, 6),
        ("PixelSpacing", "0028,0030", plane.frame.spacing, 2),
    ):
        if value is None:
            raise GeometryError(
                f"{source}: {plane.name} has no {keyword} ({tag}), so nobody knows where its voxels lie; "
                "export the series again from the PACS",
                code=3256,
            )
        if len(value) != count or not all(map(math.isfinite, value)) or max(map(abs, value)) > _FARTHEST_MM:
            raise GeometryError(
                f"{source}: {plane.name} has the {keyword} ({tag}) {_written(value)}, expected {count} "
                "numbers in mm or direction cosines; export the series again",
                code=3257,
            )
    orientation = np.reshape(plane.frame.orientation or (), (2, 3))
    if np.abs(orientation @ orientation.T - np.eye(2)).max() > _UNIT_TOLERANCE:
        raise GeometryError(
            f"{source}: {plane.name} has the ImageOrientationPatient (0020,0037) "
            f"{_written(plane.frame.orientation or ())}, expected two directions of length 1 at right "
            "angles; export the series again",
            code=3257,
        )
    lowest, highest = _SPACING_MM
    if not all(lowest <= mm <= highest for mm in plane.frame.spacing or ()):
        raise GeometryError(
            f"{source}: {plane.name} has the PixelSpacing (0028,0030) {_written(plane.frame.spacing or ())}, "
            f"expected {lowest:g} to {highest:g} mm; export the series again",
            code=3257,
        )


def _written(numbers: Sequence[float]) -> str:
    return "\\".join(f"{number:g}" for number in numbers)


def _check_alike(planes: Sequence[Plane], source: str) -> None:
    """Refuse planes of another size, orientation, spacing, stack or frame of reference than the others."""
    _refuse_odd(
        planes, [(p.image.stored.rows, p.image.stored.columns) for p in planes], "Rows x Columns", source
    )
    orientation = [p.frame.orientation for p in planes]
    if np.ptp(np.array(orientation), axis=0).max() > _SAME_COSINES:
        _refuse_odd(
            planes,
            [tuple(round(v, 2) + 0.0 for v in o or ()) for o in orientation],
            "ImageOrientationPatient",
            source,
        )
    spacing = np.array([p.frame.spacing for p in planes])
    if (np.ptp(spacing, axis=0) > _SAME_SPACING * spacing.min(axis=0)).any():
        _refuse_odd(planes, [tuple(map(float, one)) for one in spacing], "PixelSpacing", source)
    _refuse_odd(planes, [p.image.kernel for p in planes], "ConvolutionKernel", source, code=3270)
    _refuse_odd(planes, [p.frame.stack for p in planes], "StackID", source, code=3270)
    references = [p.image.frame_of_reference_uid for p in planes]
    _refuse_odd(planes, references, "FrameOfReferenceUID", source, code=3270)


def _refuse_odd(
    planes: Sequence[Plane], values: Sequence[object], what: str, source: str, *, code: int = 3258
) -> None:
    counted = Counter(values)
    if len(counted) < 2:
        return
    usual = counted.most_common(1)[0][0]
    odd = next(k for k, value in enumerate(values) if value != usual)
    raise GeometryError(
        f"{source}: slices of one series differ in {what}: {_told(usual)} in {counted[usual]} of them, "
        f"{_told(values[odd])} in "
        f"{planes[odd].name}{' and others' if len(values) - counted[usual] > 1 else ''}; they are no single "
        "volume. Give the files of one reconstruction",
        code=code,
    )


def _told(value: object) -> str:
    if isinstance(value, tuple):
        separator = " x " if all(isinstance(one, int | None) for one in value) else "\\"
        return separator.join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return repr(value)


def _refuse_same_place(planes: Sequence[Plane], places: DoubleArray, source: str) -> None:
    double = [k for k, step in enumerate(np.diff(places)) if step < _SAME_PLACE_MM]
    if not double:
        return
    one, other = planes[double[0]], planes[double[0] + 1]
    acquisitions = {plane.image.acquisition for plane in planes}
    times = f"; the series has {len(acquisitions)} acquisitions" if len(acquisitions) > 1 else ""
    raise GeometryError(
        f"{source}: {one.name} and {other.name} are different slices at the same position "
        f"({places[double[0]]:.2f} mm along the normal){_and_more(len(double))}{times}. A volume has one "
        "slice at a place: give the files of one phase or reconstruction",
        code=3261,
    )


def _and_more(count: int) -> str:
    return f", as are {count - 1} more pairs" if count > 1 else ""


def _refuse_mixed(planes: Sequence[Plane], source: str) -> None:
    """Refuse acquisitions that alternate along the normal: two phases, plane by plane."""
    runs = [number for number, _ in groupby(plane.image.acquisition for plane in planes)]
    again = next((number for number, count in Counter(runs).items() if count > 1), None)
    if again is None:
        return
    acquisitions = list(dict.fromkeys(runs))
    raise GeometryError(
        f"{source}: slices of {len(acquisitions)} acquisitions alternate in one series (AcquisitionNumber "
        f"{', '.join(acquisitions[:5])}): phases, or times of day. Give the files of one acquisition",
        code=3270,
    )


def _refuse_tilt(planes: Sequence[Plane], positions: DoubleArray, normal: DoubleArray, source: str) -> None:
    """Refuse slices that do not lie one above the other."""
    way = positions[-1] - positions[0]
    along = float(way @ normal)
    across = float(np.linalg.norm(way - along * normal))
    spacing = min(planes[0].frame.spacing or (0.0,))
    degrees = math.degrees(math.atan2(across, along))
    if degrees > _LEAST_TILT_DEGREES and across > spacing / 2:
        raise GeometryError(
            f"{source}: the gantry was tilted by {degrees:.1f} degrees: slices move by {across:.1f} mm "
            f"across while they go {along:.1f} mm along (ImagePositionPatient), so the grid is sheared. A "
            "chest CT is taken without a tilt: give another series, or straighten this one (dcm2niix writes "
            "it as *_Tilt.nii)",
            code=3259,
        )
    drift = positions - positions[0] - np.outer((positions - positions[0]) @ normal / along, way)
    worst = int(np.argmax(np.linalg.norm(drift, axis=1)))
    if np.linalg.norm(drift[worst]) > spacing / 2:
        raise GeometryError(
            f"{source}: {planes[worst].name} lies {np.linalg.norm(drift[worst]):.2f} mm beside the line of "
            "the others (ImagePositionPatient), expected slices one above the other; give the files of one "
            "reconstruction",
            code=3273,
        )


def _gaps(
    planes: Sequence[Plane], places: DoubleArray, source: str, *, allow_gaps: bool
) -> tuple[tuple[Gap, ...], float]:
    """Where planes are missing, and the number of steps from the first plane to the last."""
    steps = np.diff(places)
    mean = float(steps.mean())
    tolerance = min(_JITTER_MM, _JITTER_STEPS * mean)
    off = np.abs(places - places[0] - mean * np.arange(len(places)))
    if off.max() <= tolerance and np.abs(steps - mean).max() <= 2 * tolerance:
        return (), len(steps)
    usual = float(median(steps))
    missing = np.rint(steps / usual).astype(int) - 1
    whole = np.abs(steps - (missing + 1) * usual).max() <= min(_JITTER_MM, _JITTER_STEPS * usual)
    first = int(np.argmax(np.abs(steps - usual)))
    counted = Counter(f"{step:.2f}" for step in steps).most_common(4)
    found = (
        f"{source}: slices are not the same distance apart: {planes[first].name} and "
        f"{planes[first + 1].name} are {steps[first]:.2f} mm apart, most others {usual:.2f} mm (steps: "
        + ", ".join(f"{count} of {step} mm" for step, count in counted)
        + ")"
    )
    # A step that is longer than the others and occurs as often is no gap but another spacing.
    is_gap = whole and not (missing < 0).any() and 4 * np.count_nonzero(missing) <= len(steps)
    if not is_gap:
        raise GeometryError(
            f"{found}. The spacing is not uniform, and no millilitres can be given; give a series with one "
            "step",
            code=3260,
        )
    count = int(missing.sum())
    what = f"{count} slice{'s are' if count > 1 else ' is'} missing"
    if not allow_gaps:
        raise GeometryError(
            f"{found}: a gap, {what}. Copy the series again; with --allow-gaps what is there is measured, "
            "and nothing of what is missing",
            code=3260,
        )
    gaps = tuple(
        Gap(k, float(steps[k]), int(missing[k]), planes[k].image.instance_uid)
        for k in map(int, np.flatnonzero(missing))
    )
    return gaps, len(steps) + count
