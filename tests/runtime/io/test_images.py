import errno
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime.errors import InputError, OutputError
from infnet_runtime.io import open_scan
from infnet_runtime.io.images import CLASS_COLOURS
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.scan.ct import Intensity

PHANTOM = chest_phantom()
SLICE = 8
GREY = np.clip((PHANTOM.hu[SLICE].astype(float) + 1250) / 1500 * 255, 0, 255).astype(np.uint8)
# EXIF block with orientation 6 (turned by 90 degrees), TIFF little-endian with the one entry.
EXIF_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def write(path: Path, picture: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_picture_is_one_upright_slice(tmp_path: Path, name: str, channels: int) -> None:
    picture = GREY if channels == 1 else np.repeat(GREY[..., None], 3, axis=2)
    path = write(tmp_path / name, picture)
    scan = open_scan(path)
    assert not scan.volume.grid.has_size
    assert scan.mask_suffix == ".png"
    assert scan.volume.intensity is Intensity.WINDOWED
    assert scan.volume.spacing_mm == (1, 1, 1)
    expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(scan.volume.to_lps(), expected[None])  # rows and columns as displayed
    if name == "a.png":
        assert np.array_equal(scan.volume.to_lps()[0], GREY)


def test_the_mask_is_a_picture_of_the_same_size(tmp_path: Path) -> None:
    scan = open_scan(write(tmp_path / "a.png", GREY))
    infection = PHANTOM.infection[SLICE : SLICE + 1]
    scan.write_mask(tmp_path / "mask.png", scan.volume.from_lps(infection))
    written = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, infection[0] * np.uint8(255))
    with pytest.raises(OutputError, match=r"INF-8008.*the mask of a picture is a .png"):
        scan.write_mask(tmp_path / "mask.jpg", scan.volume.from_lps(infection))
    with pytest.raises(OutputError, match="INF-8009.*the mask has shape"):
        scan.write_mask(tmp_path / "other.png", infection)


def test_classes_are_a_picture_with_a_palette(tmp_path: Path) -> None:
    scan = open_scan(write(tmp_path / "a.png", GREY))
    classes = PHANTOM.infection[SLICE : SLICE + 1].astype(np.uint8)
    classes[:, : GREY.shape[0] // 2] *= 2
    scan.write_classes(tmp_path / "classes.png", scan.volume.from_lps(classes), CLASS_OUTPUT.labels)
    shown = cv2.imread(str(tmp_path / "classes.png"), cv2.IMREAD_COLOR)
    assert np.array_equal(shown[..., ::-1], np.array(CLASS_COLOURS)[classes[0]])
    assert b'"code": "112120"' in (tmp_path / "classes.png").read_bytes()
    with pytest.raises(OutputError, match=r"INF-8008.*the mask of a picture is a .png"):
        scan.write_classes(tmp_path / "classes.jpg", scan.volume.from_lps(classes), {})
    with pytest.raises(OutputError, match="INF-8009.*the mask has shape"):
        scan.write_classes(tmp_path / "other.png", classes, {})


def colour() -> np.ndarray:
    picture = np.repeat(GREY[..., None], 3, axis=2)
    picture[3, 3] = (0, 0, 255)
    return picture


@pytest.mark.parametrize(
    ("picture", "code", "text"),
    [
        (colour(), 3051, "a.png is in colour; expected a grey slice"),
        (np.dstack([GREY] * 3 + [GREY]), 3051, "is partly transparent"),
        (GREY.astype(np.uint16) * 16, 3052, "has 16 bits per pixel, whose window is not known"),
        (np.where(GREY > 99, 255, 0).astype(np.uint8), 3043, "looks like a mask"),
        (np.zeros((9, 9), np.uint8), 3040, "there is no picture in it"),
        (np.zeros((1, 8193), np.uint8), 3054, "has 8193 x 1 pixels; expected at most 8192 a side"),
    ],
)
def test_what_is_no_grey_slice(tmp_path: Path, picture: np.ndarray, code: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        open_scan(write(tmp_path / "a.png", picture))
    assert caught.value.code == code


def test_a_picture_holds_no_hu(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no negative value"):
        open_scan(write(tmp_path / "a.png", GREY), intensity=Intensity.HU)


def test_a_picture_turned_by_exif_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", GREY)
    content = path.read_bytes()
    block = b"\xff\xe1" + (len(EXIF_TURNED) + 2).to_bytes(2, "big") + EXIF_TURNED
    path.write_bytes(content[:2] + block + content[2:])
    with pytest.raises(InputError, match="INF-3053.*is turned or mirrored by an EXIF orientation tag"):
        open_scan(path)


def turned_png() -> bytes:
    content = cv2.imencode(".png", GREY)[1].tobytes()
    block = EXIF_TURNED.removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + block
    head = 8 + 25  # signature and IHDR
    checksum = zlib.crc32(chunk).to_bytes(4, "big")
    return content[:head] + len(block).to_bytes(4, "big") + chunk + checksum + content[head:]


def test_a_png_turned_by_exif_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(turned_png())
    with pytest.raises(InputError, match="INF-3053.*is turned or mirrored by an EXIF orientation tag"):
        open_scan(tmp_path / "a.png")


def test_a_tag_that_turns_nothing_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", GREY)
    content = path.read_bytes()
    upright = bytearray(EXIF_TURNED)
    upright[-8] = 1
    block = b"\xff\xe1" + (len(upright) + 2).to_bytes(2, "big") + bytes(upright)
    path.write_bytes(content[:2] + block + content[2:])
    assert open_scan(path).volume.grid.shape == (*GREY.shape, 1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_pictures(tmp_path: Path, name: str) -> None:
    content = write(tmp_path / name, GREY).read_bytes()
    for length in (*range(1, 60, 7), len(content) // 2, len(content) - 1):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(InputError, match=name) as caught:
            open_scan(tmp_path / name)
        assert caught.value.code == 3050


def test_a_flipped_byte_in_a_png_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", GREY)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="the checksum of its part b'IDAT' is wrong"):
        open_scan(path)


def test_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"a.png is neither PNG nor JPEG \(it begins with b'hell'\)"):
        open_scan(tmp_path / "a.png")


def test_a_picture_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", GREY)

    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"INF-3005\] cannot read .*a.png: Permission denied"):
        open_scan(path)
