import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.io.dicom.codestream import fault_of

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

import dicom_world  # noqa: E402 - which needs pydicom

PICTURE = (np.arange(24 * 32).reshape(24, 32) // 3).astype(np.uint8)
SIZE = PICTURE.shape
ONE, TWO = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"  # JPEG, JPEG 2000
JPEG = cv2.imencode(".jpg", PICTURE)[1].tobytes()  # begins with a part of JFIF
SCAN = JPEG.index(b"\xff\xda")


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]])
def test_a_sound_jpeg_may_be_decoded(options: list[int]) -> None:
    stream = cv2.imencode(".jpg", PICTURE, options)[1].tobytes()
    assert fault_of(stream, ONE, SIZE) == ""
    assert fault_of(stream[:2] + b"\xff" + stream[2:], ONE, SIZE) == ""  # with a byte of fill
    assert fault_of(stream, ONE, (24, 33)) == "a frame is (24, 32), expected (24, 33) by the header"


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (JPEG[:20], "the parts of the frame do not follow each other"),
        (JPEG[:SCAN] + b"junk" + JPEG[SCAN:], "the parts of the frame do not follow each other"),
        (JPEG[: SCAN + 6], "a part of the frame is cut off"),
        (JPEG.replace(b"JFIF\0\x01", b"JFIF\0\x07"), "the frame is of an unknown version of JFIF"),
        (
            JPEG[:SCAN] + b"\xff\xda\0\x08\x02" + JPEG[SCAN + 5 :],
            "another scan than that of one grey picture",
        ),
        (cv2.imencode(".jpg", np.dstack([PICTURE] * 3))[1].tobytes(), "another header than that of one grey"),
    ],
)
def test_a_jpeg_on_which_a_decoder_could_end_the_process_is_none(stream: bytes, fault: str) -> None:
    assert fault in fault_of(stream, ONE, SIZE)


def jpeg_2000(tile: int = 32, components: int = 1, depth: int = 15, step: int = 1) -> bytes:
    """Up to the first tile."""
    size = struct.pack(">2H8IH3B", 41, 0, 33, 25, 1, 1, tile, 24, 0, 0, components, depth, step, 1)
    return b"\xff\x4f\xff\x51" + size + b"\xff\x64\0\x04ok" + b"\xff\x90"


def test_a_jpeg_2000_says_its_size() -> None:
    stream = jpeg_2000()
    assert fault_of(stream, TWO, SIZE) == ""
    assert fault_of(b"\0\0\0\x0cjP  \r\n\x87\n" + stream, TWO, SIZE) == ""
    assert "a frame is (24, 32)" in fault_of(stream, TWO, (24, 31))


@pytest.mark.parametrize(
    "changed",
    [{"tile": 0}, {"components": 3}, {"depth": 0x5A}, {"step": 2}],
    ids=lambda changed: str(changed),
)
def test_a_jpeg_2000_of_another_kind_is_not_decoded(changed: dict[str, int]) -> None:
    assert "another header than that of one grey" in fault_of(jpeg_2000(**changed), TWO, SIZE)


def test_a_jpeg_2000_whose_parts_do_not_follow_is_not_decoded() -> None:
    assert "cut off" in fault_of(jpeg_2000()[:30], TWO, SIZE)
    for stream in (jpeg_2000()[:-2], jpeg_2000().replace(b"\xff\x64", b"\x11\x64")):
        assert "do not follow each other" in fault_of(stream, TWO, SIZE)


def test_what_begins_as_another_kind_is_not_decoded() -> None:
    assert fault_of(b"", ONE, SIZE) == fault_of(bytes(64), ONE, SIZE) == "the frame is no JPEG"
    assert fault_of(JPEG, TWO, SIZE) == fault_of(b"", TWO, SIZE) == "the frame is no JPEG 2000"
    assert fault_of(bytes(64), "1.2.840.10008.1.2.5", SIZE) == ""  # RLE


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessProcess14_1"])
def test_a_frame_of_another_size_is_refused_before_it_is_decoded(name: str, tmp_path: Path) -> None:
    """A decoder would take memory for what the frame claims."""
    paths = dicom_world.write(tmp_path, dicom_world.slices())
    for path in paths:
        dicom_world.pack_with_gdcm(path, name)
    assert read_dicom(tmp_path).volume.voxels.shape == (32, 24, 6)
    dataset = pydicom.dcmread(paths[1])
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert fault_of(frame, dataset.file_meta.TransferSyntaxUID, (24, 32)) == ""
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
