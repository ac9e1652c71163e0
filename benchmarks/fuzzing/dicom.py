"""Spoilt DICOM series: fields of the header, bytes of the file in several encodings, and archives.

The sound series are those of the tests, three slices each.
"""

import io
import struct
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from random import Random

import gdcm
import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fuzzing.kinds import Kind, write
from fuzzing.mutations import INTEGERS, spoil_bytes
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.scan.phantom import chest_phantom

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import dicom_world

# Written by GDCM; pydicom has no encoder for the first, and needs a further package for the last.
_GDCM = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
}
_PACKED = (RLELossless, *_GDCM)
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_PIXELS = b"\xe0\x7f\x10\x00"
# Texts that a number, a date, a UID, a name or a list of them may turn out to be.
_TEXTS = (
    *(
        b"",
        b" ",
        b"\0",
        b"0",
        b"-0",
        b"1",
        b"-1",
        b"nan",
        b"inf",
        b"-inf",
        b"1e400",
        b"1e-400",
        b"1e9",
        b"1,5",
    ),
    *(b"0x10", b"1_000", b"\\", b"\\\\\\", b"1\\2", b"1\\2\\3", b"1\\0\\0\\0\\1\\0", b"0\\0\\0\\0\\0\\0"),
    *(
        b"1\\0\\0\\0\\0\\1",
        b"0.7\\nan",
        b"-0.7\\0.7",
        b"99999999999999999999",
        b"3.5",
        b"\xff\xfe",
        b"\x1b$B",
    ),
    *(b"ORIGINAL\\PRIMARY\\LOCALIZER", b"CT", b"MR", b"MONOCHROME1", b"RGB", b"ISO_IR 192", b"GB18030"),
    *(b"\\ISO 2022 IR 87", b"no such set", b"1.2.840.10008.5.1.4.1.1.2.1", b"1.2.840.10008.1.2.5", b"1" * 70),
    *(b"20991231", b"{0}%s\n", b"9" * 400),
)


def _bytes_of(path: Path) -> bytes:
    content = path.read_bytes()
    path.unlink()
    return content


@cache
def _series(way: str) -> tuple[bytes, ...]:
    """Files of a sound series, by transfer syntax; ``enhanced`` is one file, ``bare`` has no preamble."""
    phantom = chest_phantom((3, 16, 20), (80.0, 20.0, 19.0), noise_hu=5.0)
    objects = dicom_world.slices(phantom)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if way == "enhanced":
            paths = dicom_world.write(place, [dicom_world.enhanced(objects)])
        elif way == "bare":
            paths = dicom_world.write(place, objects, preamble=False)
        elif way in _GDCM:
            paths = dicom_world.write(place, objects)
            for path in paths:
                _pack(path, _GDCM[pydicom.uid.UID(way)])
        else:
            paths = dicom_world.write(place, objects, syntax=pydicom.uid.UID(way))
        return tuple(map(_bytes_of, paths))


def _pack(path: Path, syntax: int) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    writer.Write()


def _places(content: bytes) -> list[tuple[int, int, int, bytes]]:
    """Elements of explicit little endian, nested ones too: start, start and end of the value, VR."""
    found, at = [], 132
    while at + 8 <= len(content):
        if content[at : at + 2] == b"\xfe\xff":  # item, or the end of one or of a sequence
            at += 8
            continue
        kind = content[at + 4 : at + 6]
        if content[at : at + 4] == _PIXELS:
            found.append((at, at + 12, len(content), kind))
            break
        is_long = kind in _LONG
        start = at + (12 if is_long else 8)
        length = struct.unpack_from("<I" if is_long else "<H", content, at + (8 if is_long else 6))[0]
        if kind == b"SQ":
            found.append((at, start, start, kind))  # its items come next
            at = start
            continue
        found.append((at, start, start + length, kind))
        at = start + length
    return found


def _element(kind: bytes, tag: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if kind in _LONG:
        return tag + kind + b"\0\0" + struct.pack("<I", len(value)) + value
    return tag + kind + struct.pack("<H", len(value) & 0xFFFF) + value


def _spoil_header(rng: Random, content: bytes) -> bytes:
    """Change, empty, remove, repeat or retype one to three elements; around them lengths stay right."""
    for _ in range(rng.randint(1, 3)):
        places = _places(content)
        if not places:
            break
        at, start, end, kind = rng.choice(places)
        tag, value = content[at : at + 4], content[start:end]
        if tag == _PIXELS and rng.random() < 0.7:
            continue
        match rng.randrange(8):
            case 0:
                new = b""
            case 1:
                new = _element(rng.choice((*_LONG, b"US", b"DS", b"XX", b"CS")), tag, value)
            case 2:
                new = _element(kind, tag, value) * 2
            case 3:
                other = struct.pack(
                    "<2H", rng.choice((0x8, 0x9, 0x10, 0x20, 0x28, 0x5200)), rng.getrandbits(16)
                )
                new = _element(kind, other, value)
            case 4:
                new = _element(kind, tag, spoil_bytes(rng, value))
            case _ if kind in (b"US", b"SS"):
                new = _element(kind, tag, struct.pack("<H", rng.choice(INTEGERS) & 0xFFFF))
            case _:
                new = _element(kind, tag, rng.choice(_TEXTS))
        content = content[:at] + new + content[end:]
    return content


def _put(rng: Random, folder: Path, files: tuple[bytes, ...]) -> Path:
    place = folder / "series"
    place.mkdir()
    for number, content in enumerate(files):
        write(place, f"IM{number:04}{rng.choice(('', '.dcm'))}", content)
    return place


def _header(rng: Random, folder: Path) -> Path:
    files = list(_series(rng.choice((ExplicitVRLittleEndian, ExplicitVRLittleEndian, "enhanced"))))
    fault = rng.getrandbits(32)
    for number in range(len(files)) if rng.random() < 0.4 else (rng.randrange(len(files)),):
        files[number] = _spoil_header(Random(fault), files[number])
    return _put(rng, folder, tuple(files))


def _file(rng: Random, folder: Path) -> Path:
    way = rng.choice((*_PLAIN, *_PACKED, *_PACKED, "bare", "enhanced"))
    files = list(_series(way))
    at = rng.randrange(len(files))
    content = files[at]
    cut = max(content.rfind(_PIXELS), 0) if rng.random() < 0.5 and way not in _PLAIN else 0
    files[at] = content[:cut] + spoil_bytes(rng, content[cut:], _series(rng.choice(_PACKED)))
    return _put(rng, folder, tuple(files))


def _member(name: str, way: int) -> zipfile.ZipInfo:
    """With the time of all zip archives that have none."""
    member = zipfile.ZipInfo(name)
    member.compress_type = way
    return member


def _archive(rng: Random, folder: Path) -> Path:
    packed = io.BytesIO()
    way = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(packed, "w", way) as archive:
        for number, content in enumerate(_series(ExplicitVRLittleEndian)):
            archive.writestr(_member(f"series/IM{number:04}", way), content)
        if rng.random() < 0.2:
            archive.writestr(
                _member(rng.choice(("../out", "/out", "C:\\out", "a" * 300, "dir/", "é")), way), b""
            )
        if rng.random() < 0.1:
            archive.writestr(_member("zeros", way), bytes(1 << 24))
    content = packed.getvalue()
    if rng.random() < 0.5:  # the directory at the end, which lists the members
        cut = content.find(b"PK\1\2")
        content = content[:cut] + spoil_bytes(rng, content[cut:])
    else:
        content = spoil_bytes(rng, content)
    return write(folder, "series.zip", content)


def _read(path: Path) -> None:
    scan = read_dicom(path, max_bytes=1 << 32)
    voxels = np.asarray(scan.volume.voxels)
    assert voxels.ndim == 3
    assert np.isfinite(voxels).all()
    assert np.isfinite(scan.volume.affine).all()
    assert 0 < scan.volume.voxel_volume_ml < np.inf
    assert len(scan.source.instance_uids) == voxels.shape[2]


KINDS = (
    Kind("dicom-header", 15, _header, _read, ("pydicom",)),
    Kind("dicom-file", 10, _file, _read, ("pydicom",), may_print=True),
    Kind("dicom-zip", 5, _archive, _read, ("pydicom",)),
)
