"""Where the voxels of a NIfTI-1 file lie in the patient.

The header says it up to three times: pixdim, qform and sform. They have to agree; then the affine counts,
because it alone gives both the millilitres and the sides.
"""

import math
from itertools import permutations, product

import numpy as np

from infnet_runtime.arrays import Affine
from infnet_runtime.io.nifti.fields import HeaderFields
from infnet_runtime.scan.grid import check_affine, is_identity, orientation_code

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is read as mm, as every tool does
# Voxel sizes of CT, micro-CT aside, lie between 0.1 and 20 mm; a wrong unit is off by 1000.
_SPACING_RANGE_MM = (0.01, 100.0)
_SPACING_TOLERANCE = 0.01  # of pixdim against the affine; float32 rounding and dcm2niix stay below 1e-4
# sform and qform axes further apart than 45 degrees point to different sides of the patient.
_LEAST_COSINE = 0.7
_QUATERNION_TOLERANCE = 1e-4
ORIENTATIONS = frozenset(
    "".join(letters) for order in permutations(("LR", "AP", "SI")) for letters in product(*order)
)


def affine_from_header(fields: HeaderFields, assume_orientation: str | None) -> tuple[Affine, str]:
    """Place and size of the voxels, checked.

    Parameters
    ----------
    fields
        The header.
    assume_orientation
        Where the stored axes point to, for files that do not say, or only repeat an identity.

    Returns
    -------
    affine : (4, 4), mm
        From voxel index to world.
    origin
        Which form the affine comes from.

    Raises
    ------
    GeometryError
        If a form is missing, damaged or contradicts another.
    """
    qfac, *spacing = fields.get(76, "4f")
    for axis, step in enumerate(spacing, start=1):
        if not (math.isfinite(step) and step > 0):
            fields.refuse_geometry(
                3014,
                f"has the spacing {step} (header pixdim[{axis}]), expected a positive number; correct the "
                "header",
            )
    (units,) = fields.get(123, "B")
    if (units & 7) not in _MM_PER_UNIT:
        fields.refuse_geometry(
            3021, f"has the unknown length unit {units & 7} (header xyzt_units); expected mm (2)"
        )
    to_mm = _MM_PER_UNIT[units & 7]
    spacing_mm = [step * to_mm for step in spacing]
    lowest, highest = _SPACING_RANGE_MM
    if not lowest <= min(spacing_mm) <= max(spacing_mm) <= highest:
        fields.refuse_geometry(
            3014,
            f"has voxels of {' x '.join(f'{step:g}' for step in spacing_mm)} mm (header pixdim, xyzt_units), "
            f"expected {lowest:g}..{highest:g} mm; correct spacing or unit",
        )

    qform_code, sform_code = fields.get(252, "2h")
    if not (0 <= qform_code <= 5 and 0 <= sform_code <= 5):
        fields.refuse_geometry(
            3017,
            f"has qform_code {qform_code} and sform_code {sform_code}, expected 0..5; the header is damaged",
        )
    qform = _qform(fields, qfac, spacing_mm, to_mm) if qform_code else None
    sform = _sform(fields, to_mm) if sform_code else None
    if sform is not None:
        _agree_with_pixdim(fields, sform, spacing_mm)
        if qform is not None:
            _agree(fields, sform, qform)
    stated = qform if sform is None else sform
    if stated is not None and not (assume_orientation and is_identity(stated)):
        return stated, "qform" if sform is None else "sform"
    return _assumed(fields, spacing_mm, assume_orientation), f"assumed {assume_orientation}"


def _qform(fields: HeaderFields, qfac: float, spacing_mm: list[float], to_mm: float) -> Affine:
    """Affine from the quaternion, method 2 of nifti1.h."""
    b, c, d, *offset = fields.get(256, "6f")
    square = b * b + c * c + d * d  # Python floats: a huge value gives inf, not an exception
    if (
        not math.isfinite(square + sum(offset))
        or square > 1 + _QUATERNION_TOLERANCE
        or qfac not in (-1, 0, 1)
    ):
        fields.refuse_geometry(
            3017,
            f"has a damaged qform: quaternion ({b:g}, {c:g}, {d:g}), offset {offset}, qfac {qfac:g} (header "
            "pixdim[0]); convert the scan again from its DICOM files",
        )
    a = math.sqrt(max(0.0, 1.0 - square))
    length = math.sqrt(a * a + square)
    a, b, c, d = a / length, b / length, c / length, d / length
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * (spacing_mm[0], spacing_mm[1], spacing_mm[2] * (-1.0 if qfac == -1 else 1.0))
    affine[:3, 3] = [step * to_mm for step in offset]
    return affine


def _sform(fields: HeaderFields, to_mm: float) -> Affine:
    affine = np.eye(4)
    affine[:3] = np.reshape(fields.get(280, "12f"), (3, 4))
    affine[:3] *= to_mm
    check_affine(affine, f"the sform of {fields.source}")
    return affine


def _agree_with_pixdim(fields: HeaderFields, sform: Affine, spacing_mm: list[float]) -> None:
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if np.abs(lengths / spacing_mm - 1).max() > _SPACING_TOLERANCE:
        _refuse_tilt(fields, sform, spacing_mm)
        fields.refuse_geometry(
            3019,
            f"contradicts itself on the voxel size: {_size(lengths)} by the sform, {_size(spacing_mm)} by "
            "pixdim. The volume in ml depends on it: convert the scan again from its DICOM files",
        )


def _refuse_tilt(fields: HeaderFields, sform: Affine, spacing_mm: list[float]) -> None:
    """Name a tilted gantry: the sform goes along the tilted way, pixdim from plane to plane."""
    i, j, k = sform[:3, :3].T
    normal = np.cross(i, j)
    plane_mm = abs(float(k @ normal)) / float(np.linalg.norm(normal))
    straight = np.array([np.linalg.norm(i), np.linalg.norm(j), plane_mm])
    if np.abs(straight / spacing_mm - 1).max() <= _SPACING_TOLERANCE:
        degrees = math.degrees(math.acos(min(1.0, plane_mm / float(np.linalg.norm(k)))))
        fields.refuse_geometry(
            3259,
            f"was taken with the gantry tilted by {degrees:.1f} degrees: by the sform its slices do not lie "
            "one above the other. dcm2niix writes the straightened volume beside it (*_Tilt.nii): give that "
            "file, or a series without a tilt",
        )


def _agree(fields: HeaderFields, sform: Affine, qform: Affine) -> None:
    s, q = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in (sform, qform))
    cosines = (s * q).sum(axis=0)
    if cosines.min() < _LEAST_COSINE or np.linalg.det(s) * np.linalg.det(q) < 0:
        fields.refuse_geometry(
            3018,
            "contradicts itself on left and right, front and back: the sform says "
            f"{orientation_code(sform)}, the qform says {orientation_code(qform)}. Convert the scan again "
            "from its DICOM files, or keep only the right one",
        )


def _assumed(fields: HeaderFields, spacing_mm: list[float], orientation: str | None) -> Affine:
    if orientation is None:
        fields.refuse_geometry(
            3016,
            "does not say where left and right are (qform_code and sform_code are 0). Convert the scan again "
            "from its DICOM files, or state the orientation, for example LAS, if you know it",
        )
    if orientation not in ORIENTATIONS:
        fields.refuse_geometry(
            3016,
            f"was to be read in orientation {orientation!r}; expected three letters of L/R, A/P, S/I such as "
            "LAS",
        )
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, letter in enumerate(orientation):
        world = next(n for n, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[world, axis] = spacing_mm[axis] * (1 if letter in "RAS" else -1)
    return affine


def _size(steps: Affine | list[float]) -> str:
    return " x ".join(f"{step:.4g}" for step in steps) + " mm"
