import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.io.dicom.codestream import size_of

pydicom = pytest.importorskip("pydicom")
gdcm = pytest.importorskip("gdcm")

import dicom_world  # noqa: E402 - which needs pydicom

PICTURE = (np.arange(24 * 32).reshape(24, 32) // 3).astype(np.uint8)


def packed(path: Path, syntax: int) -> None:
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


@pytest.mark.parametrize(("ending", "options"), [(".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])])
def test_a_jpeg_says_its_size(ending: str, options: list[int]) -> None:
    stream = cv2.imencode(ending, PICTURE, options)[1].tobytes()
    assert size_of(stream) == PICTURE.shape
    assert size_of(stream[:2] + b"\xff" + stream[2:]) == PICTURE.shape  # with a byte of fill
    assert size_of(stream[:20]) == (0, 0)


def test_a_jpeg_2000_says_its_size() -> None:
    stream = b"\xff\x4f\xff\x51" + struct.pack(">2H8I", 47, 0, 33, 25, 1, 1, 32, 24, 0, 0)
    assert size_of(stream) == (24, 32)
    assert size_of(b"\0\0\0\x0cjP  \r\n\x87\n" + stream) == (24, 32)
    assert size_of(stream[:20]) is None


def test_what_is_neither_says_nothing() -> None:
    assert size_of(b"") is None
    assert size_of(bytes(64)) is None  # RLE


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1"])
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(name: str, tmp_path: Path) -> None:
    """A decoder would take memory for what the frame claims."""
    paths = dicom_world.write(tmp_path, dicom_world.slices())
    for path in paths:
        packed(path, getattr(gdcm.TransferSyntax, name))
    assert read_dicom(tmp_path).volume.voxels.shape == (32, 24, 6)
    dataset = pydicom.dcmread(paths[1])
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert size_of(frame) == (24, 32)
    if name == "JPEG2000Lossless":
        forged = frame.replace(struct.pack(">2I", 32, 24), struct.pack(">2I", 32000, 24000), 1)
    else:
        forged = frame.replace(struct.pack(">2H", 24, 32), struct.pack(">2H", 24000, 32000), 1)
    dataset.PixelData = pydicom.encaps.encapsulate([forged])
    target = io.BytesIO()
    dataset.save_as(target)
    paths[1].write_bytes(target.getvalue())
    with pytest.raises(InputError, match=r"a frame is \(24000, 32000\), expected \(24, 32\)") as caught:
        read_dicom(tmp_path)
    assert caught.value.code == 3268
