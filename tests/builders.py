"""Phantoms and files with known answers, shared by all tests."""

import gzip
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.scan.sides import LEFT, RIGHT

__all__ = [
    "LEFT",
    "ORIENTATIONS",
    "RIGHT",
    "chest_phantom",
    "forge_header",
    "forge_nifti",
    "reorient",
    "rotation",
    "tiny_hu",
    "write_nifti",
]

ORIENTATIONS = tuple(
    sorted("".join(letters) for order in permutations(("LR", "AP", "SI")) for letters in product(*order))
)
"""All 48 ways to store a volume, as nibabel names them: where the stored axes point to."""


def reorient(
    array: npt.NDArray[Any],
    spacing_mm: tuple[float, float, float],
    code: str,
    origin: tuple[float, float, float] = (10.0, -20.0, 30.0),
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Store an LPS array (slice, row, column) in another orientation.

    ``origin`` is the place of the first LPS voxel in RAS+ mm, the same for every ``code``, so that all stored
    forms describe the same patient.
    """
    source_axis = {"S": 0, "I": 0, "P": 1, "A": 1, "L": 2, "R": 2}
    towards = {
        "R": (1, 0, 0),
        "A": (0, 1, 0),
        "S": (0, 0, 1),
        "L": (-1, 0, 0),
        "P": (0, -1, 0),
        "I": (0, 0, -1),
    }
    stored = array.transpose([source_axis[letter] for letter in code])
    affine = np.eye(4)
    affine[:3, 3] = origin
    for axis, letter in enumerate(code):
        step = np.multiply(towards[letter], spacing_mm[source_axis[letter]])
        affine[:3, axis] = step
        if letter in "IAR":  # runs against LPS: the first stored voxel is the last LPS voxel
            stored = np.flip(stored, axis)
            affine[:3, 3] -= step * (stored.shape[axis] - 1)
    return np.ascontiguousarray(stored), affine


def write_nifti(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Path:
    """Write with nibabel, the reference for what our reader must understand; sform and qform are both set."""
    import nibabel as nib

    # nibabel leaves these functions without types
    image: Any = nib.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


_FIELDS = {  # name: (offset, struct code), from nifti1.h
    "sizeof_hdr": (0, "i"),
    "db_name": (14, "18s"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "cal_max": (124, "f"),
    "descrip": (148, "80s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow_x": (280, "4f"),
    "srow_y": (296, "4f"),
    "srow_z": (312, "4f"),
    "magic": (344, "4s"),
}


def rotation(degrees: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Turn about x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        n, m = (axis + 1) % 3, (axis + 2) % 3
        one[n, n] = one[m, m] = np.cos(angle)
        one[n, m], one[m, n] = -np.sin(angle), np.sin(angle)
        turned = one @ turned
    return turned


def forge_header(byte_order: Literal["<", ">"] = "<", **fields: Any) -> bytes:  # noqa: ANN401 - struct values of any kind
    """A sound header of a 4 x 3 x 2 int16 volume in LPS, 0.7 x 0.7 x 5 mm, with the given fields replaced."""
    values: dict[str, Any] = {
        "sizeof_hdr": 348,
        "dim": (3, 4, 3, 2, 1, 1, 1, 1),
        "datatype": 4,
        "bitpix": 16,
        "pixdim": (1.0, 0.7, 0.7, 5.0, 0.0, 0.0, 0.0, 0.0),
        "vox_offset": 352.0,
        "scl_slope": 1.0,
        "xyzt_units": 2,
        "qform_code": 1,
        "sform_code": 1,
        "quatern": (0.0, 0.0, 1.0),
        "srow_x": (-0.7, 0.0, 0.0, 0.0),
        "srow_y": (0.0, -0.7, 0.0, 0.0),
        "srow_z": (0.0, 0.0, 5.0, 0.0),
        "magic": b"n+1\0",
    } | fields
    header = bytearray(352)
    for name, value in values.items():
        offset, code = _FIELDS[name]
        struct.pack_into(
            byte_order + code, header, offset, *(value if isinstance(value, tuple) else (value,))
        )
    return bytes(header)


def forge_nifti(
    path: Path,
    array: npt.NDArray[Any] | None = None,
    byte_order: Literal["<", ">"] = "<",
    **fields: Any,  # noqa: ANN401
) -> Path:
    """Write a forged header with voxels; ``tiny_hu`` where no array is given. ``.gz`` by name."""
    array = tiny_hu() if array is None else array
    content = forge_header(byte_order, **fields)
    content += array.astype(array.dtype.newbyteorder(byte_order)).tobytes(order="F")
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def tiny_hu() -> npt.NDArray[np.int16]:
    """Values of a (4, 3, 2) volume, all different, that pass as HU."""
    return np.linspace(-1000, 380, 24).astype(np.int16).reshape(4, 3, 2)
