import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from infnet_runtime.errors import InputError
from infnet_runtime.io.images import decode_picture
from infnet_runtime.io.png import MAGIC, part
from infnet_runtime.io.whole_png import whole_png

ROWS, COLUMNS = 11, 13
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
FORMS = [(0, d) for d in (1, 2, 4, 8, 16)] + [(3, d) for d in (1, 2, 4, 8)]
FORMS += [(colour, depth) for colour in (2, 4, 6) for depth in (8, 16)]
Parts = list[tuple[bytes, bytes]]


def header(**changed: int) -> bytes:
    fields = {
        "columns": COLUMNS,
        "rows": ROWS,
        "depth": 8,
        "colour": 0,
        "packing": 0,
        "filter": 0,
        "passes": 0,
    }
    return struct.pack(">2I5B", *(fields | changed).values())


def lines(colour: int, depth: int) -> bytes:
    """Random pixels, each line behind the filter 1: differences to the left."""
    width = -(-COLUMNS * CHANNELS[colour] * depth // 8)
    pixels = np.random.default_rng(depth).integers(0, 256, (ROWS, 1 + width), np.uint8)
    pixels[:, 0] = 1 if depth >= 8 else 0
    return pixels.tobytes()


def parts_of(colour: int = 0, depth: int = 8) -> Parts:
    palette = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    if palette:
        palette = [(b"PLTE", palette[0][1][: 3 << depth])]
    pixels = zlib.compress(lines(colour, depth))
    return [(b"IHDR", header(colour=colour, depth=depth)), *palette, (b"IDAT", pixels), (b"IEND", b"")]


def png(parts: Parts) -> bytes:
    return MAGIC + b"".join(part(kind, content) for kind, content in parts)


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("colour", "depth"), FORMS)
def test_every_form_keeps_its_pixels(colour: int, depth: int, capfd: pytest.CaptureFixture[str]) -> None:
    content = png(parts_of(colour, depth))
    assert whole_png(content, "a.png", ROWS + COLUMNS) == content
    assert decode_picture(content, "a.png").shape[:2] == (ROWS, COLUMNS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(1, 1), (4, 3), (5, 9), (64, 70)])
def test_an_interlaced_picture_is_whole(size: tuple[int, int]) -> None:
    """Passes without a pixel of a small picture have no line either."""
    columns, rows = size
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    picture = np.random.default_rng(0).integers(0, 256, (rows, columns), np.uint8)
    stored = b""
    for row, column, row_step, column_step in passes:
        for line in picture[row::row_step, column::column_step]:
            stored += b"\0" * bool(line.size) + line.tobytes()
    head = header(columns=columns, rows=rows, passes=1)
    content = png([(b"IHDR", head), (b"IDAT", zlib.compress(stored)), (b"IEND", b"")])
    assert np.array_equal(pixels_of(content), picture)  # the test's own file is right
    assert np.array_equal(decode_picture(content, "a.png"), picture)


def test_what_pixels_do_not_need_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """A damaged colour profile or date is none of the picture; the decoder would print a warning."""
    plain = parts_of()
    odd = [plain[0], (b"iCCP", b"x"), (b"tIME", b""), (b"PLTE", bytes(3)), *plain[1:]]
    assert whole_png(png(odd), "a.png", 99) == png(plain)
    at = len(plain[1][1]) // 2
    split = [plain[0], (b"IDAT", plain[1][1][:at]), (b"IDAT", plain[1][1][at:] + b"more"), plain[2]]
    assert whole_png(png(split) + b"behind the end", "a.png", 99) == png(plain)
    assert np.array_equal(decode_picture(png(odd), "a.png"), pixels_of(png(plain)))
    assert capfd.readouterr() == ("", "")


def replaced(index: int, content: bytes) -> Callable[[Parts], Parts]:
    return lambda parts: [*parts[:index], (parts[index][0], content), *parts[index + 1 :]]


def inserted(index: int, kind: bytes, content: bytes = b"") -> Callable[[Parts], Parts]:
    return lambda parts: [*parts[:index], (kind, content), *parts[index:]]


@pytest.mark.parametrize(
    ("spoil", "code", "text"),
    [
        (replaced(0, header(rows=0)), 3054, "has 13 x 0 pixels; expected at most 99 a side"),
        (replaced(0, header(columns=100)), 3054, "has 100 x 11 pixels"),
        (replaced(0, header(depth=3)), 3050, "its header is none of a PNG"),
        (replaced(0, header(colour=7)), 3050, "its header is none of a PNG"),
        (replaced(0, header(packing=1)), 3050, "its header is none of a PNG"),
        (replaced(0, header(passes=2)), 3050, "its header is none of a PNG"),
        (replaced(0, b""), 3050, "it does not begin with one header"),
        (inserted(0, b"tEXt"), 3050, "it does not begin with one header"),
        (inserted(1, b"IHDR", header()), 3050, "it does not begin with one header"),
        (inserted(1, b"CgBI"), 3050, "its part b'CgBI' is of no known kind"),
        (inserted(2, b"tRNS", b"\0\0"), 3050, "its part b'tRNS' is there twice or too late"),
        (inserted(1, b"tRNS", b"\1\0"), 3050, "its transparency is none of its colours"),
        (inserted(1, b"tRNS", b"\0"), 3050, "its transparency is none of its colours"),
        (replaced(0, header(colour=3)), 3050, "it has no palette"),
        (replaced(0, header(rows=ROWS + 1)), 3050, "its pixels are less than the 168 bytes of its header"),
        (replaced(0, header(rows=ROWS - 1)), 3050, "its pixels are more than the 140 bytes of its header"),
        (replaced(1, zlib.compress(b"\5" * 154)), 3050, "is filtered in no known way"),
        (replaced(1, zlib.compress(bytes(154))[:-3]), 3050, "ends early: it has 154 bytes"),
        (replaced(1, b"never packed"), 3050, "its pixels cannot be unpacked"),
        (replaced(1, b""), 3050, "ends early: it has 0 bytes of pixels, expected 154"),
        (lambda parts: [*parts[:2], (b"tEXt", b""), *parts[1:]], 3050, "its pixels lie in several places"),
    ],
)
def test_what_a_decoder_would_fill_up_is_refused(
    spoil: Callable[[Parts], Parts], code: int, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=text) as caught:
        whole_png(png(spoil(parts_of())), "a.png", 99)
    assert caught.value.code == code
    assert capfd.readouterr() == ("", "")


def test_a_claim_takes_no_memory() -> None:
    """A header of 8192 x 8192 pixels in four channels of 16 bits before a few bytes."""
    import tracemalloc

    head = header(rows=8192, columns=8192, colour=6, depth=16)
    content = png([(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")])
    tracemalloc.start()
    with pytest.raises(InputError, match="its pixels are less than the 536879104 bytes of its header"):
        decode_picture(content, "a.png")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
