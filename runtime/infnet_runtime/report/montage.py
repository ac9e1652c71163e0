"""A picture to see what the numbers mean: planes with the lungs outlined and the infection in colour."""

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.png import png_bytes
from infnet_runtime.opencv import cv2
from infnet_runtime.report.files import printable
from infnet_runtime.report.views import INFECTION, View, legend, tilt_words, views, window_words
from infnet_runtime.segment.given_mask import Measured, MeasuredHow
from infnet_runtime.segment.result import Segmentation

DEFAULT_MOST_SLICES = 18
_MOST_OTHERS = 6  # coronal planes, and sagittal ones
_COLUMNS = 6
_TILE, _ONE_TILE = 320, 900  # pixels of the longer side, of several slices and of one
_CAPTION_WIDTH = 640  # pixels at least
_TEXT, _DIM = (255, 255, 255), (170, 170, 170)
_FONT, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 22
_FILLING = 0.25  # share of the colour inside an infection, which must not hide what lies under it


def montage_png(
    result: Segmentation | Measured, *, truth: BoolArray | None = None, most: int = DEFAULT_MOST_SLICES
) -> bytes:
    """Draw planes of a result as a PNG file.

    Parameters
    ----------
    truth : (i, j, k)
        Drawn in green where given.
    most
        Axial slices at most.
    """
    shown = views(
        result,
        most=(most, _MOST_OTHERS, _MOST_OTHERS),
        pixels=_TILE,
        one_pixels=_ONE_TILE,
        truth=truth,
    )
    bands = []
    for plane in ("axial", "coronal", "sagittal"):
        tiles = [_tile(view) for view in shown if view.plane == plane]
        bands += [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
    width = max(_CAPTION_WIDTH, *(band.shape[1] for band in bands))
    sheet = [_caption(result, width, truth), *(_widened(band, width) for band in bands)]
    return png_bytes(np.vstack(sheet)[..., ::-1])  # OpenCV orders blue, green, red


def _tile(view: View) -> ByteArray:
    tile: ByteArray = np.repeat(view.grey[..., None], 3, axis=2)
    for mark in view.marks:
        if mark.filled:
            tinted = (1 - _FILLING) * tile[mark.where] + _FILLING * np.array(mark.colour)
            tile[mark.where] = np.rint(tinted).astype(np.uint8)
        draw_outline(tile, mark.where, mark.colour)
    rows, columns = tile.shape[:2]
    left, right, top, bottom = tuple(view.edges)
    _write(tile, left, (4, rows // 2), _TEXT)
    _write(tile, right, (columns - 16, rows // 2), _TEXT)
    _write(tile, top, (columns // 2 - 5, 16), _TEXT)
    _write(tile, bottom, (columns // 2 - 5, rows - 6), _TEXT)
    _write(tile, f"{view.number}/{view.of}", (4, rows - 8), _DIM)
    return tile


def draw_outline(tile: ByteArray, where: BoolArray, colour: tuple[int, ...]) -> None:
    """Draw the edge of what is marked, one pixel wide and inside it."""
    outlines, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, outlines, -1, colour, 1)


def _widened(band: ByteArray, width: int) -> ByteArray:
    return np.pad(band, ((0, 0), (0, width - band.shape[1]), (0, 0)))


def _caption(result: Segmentation | Measured, width: int, truth: BoolArray | None) -> ByteArray:
    """Lines above the slices: which scan, what the colours are, what it measures, what to beware of."""
    volume, q = result.volume, result.quantification
    numbers = ""
    if q.both is not None:
        ml = "" if q.both.infection_ml is None else f"{q.both.infection_ml:.1f} ml, "
        numbers = f"infection {ml}{q.both.infection_percent:.1f} % of the lung"
    sides = (
        "R, L: the patient's sides; slices counted from the feet, rows from the front, columns from R"
        if volume.grid.has_size
        else "sides and front as in radiological display"
    )
    lines = [
        printable(volume.source),
        numbers or "no lung was found",
        *([f"WARNING: {', '.join(q.warnings)}: see the report"] if q.warnings else []),
        window_words(volume),
        sides,
        *filter(None, [tilt_words(volume)]),
        _made_by(result),
        "Research, not for diagnosis",
    ]
    caption = np.zeros((_LINE * (len(lines) + 1) + 8, width, 3), np.uint8)
    for number, line in enumerate(lines):
        colour = INFECTION if line.startswith("WARNING") else _TEXT if number < 2 else _DIM
        _write(caption, line, (6, _LINE * (number + 1)), colour)
    left = 6
    for name, colour in legend(result, truth):
        _write(caption, name, (left, _LINE * (len(lines) + 1)), colour)
        left += 12 * len(name) + 12
    return caption


def _made_by(result: Segmentation | Measured) -> str:
    how = result.provenance
    if isinstance(how, MeasuredHow):
        return f"mask {printable(how.mask or 'of a program')}"
    return f"model {how.model} {how.model_version}"


def _write(picture: ByteArray, text: str, place: tuple[int, int], colour: tuple[int, ...]) -> None:
    """Write letters, on a dark rim so that they are seen on white; what the font lacks is written as code."""
    shown = text.encode("ascii", "backslashreplace").decode("ascii")
    for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(picture, shown, place, _FONT, 0.5, shade, thickness, cv2.LINE_AA)
