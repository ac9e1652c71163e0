"""A picture to see what the numbers mean: slices with the lungs outlined and the infection in colour.

Upright and in radiological display: the patient's right at the left edge, the front at the top, from the head
down. What is marked never disappears by being made smaller, so a mark can be half a pixel too wide.
"""

import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import AnyArray, BoolArray, ByteArray
from infnet_runtime.io.images import CLASS_COLOURS
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS, PreprocessSpec
from infnet_runtime.opencv import cv2
from infnet_runtime.report.files import printable
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.slices.preprocess import window_in_place

DEFAULT_MOST_SLICES = 24
_WINDOW_HU = PreprocessSpec().window_hu  # what the network is shown
_COLUMNS = 6
_TILE, _ONE_TILE = 320, 900  # pixels of the longer side, of several slices and of one
_CAPTION_WIDTH = 640  # pixels at least
_LUNGS, _INFECTION, _TRUTH = (255, 170, 60), (40, 40, 255), (60, 220, 60)  # as OpenCV orders colours
_CLASSES = {
    kind.value: (kind.name, CLASS_COLOURS[kind.value][::-1]) for kind in (GROUND_GLASS, CONSOLIDATION)
}
_TEXT, _DIM = (255, 255, 255), (170, 170, 170)
_FONT, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 22
_FILLING = 0.35  # share of the colour inside an infection, which must not hide what lies under it


def overlay_png(
    result: Segmentation, *, truth: BoolArray | None = None, most: int = DEFAULT_MOST_SLICES
) -> bytes:
    """Draw slices of a result as a PNG file.

    Slices with lung are shown, evenly spread, and always the one with the most infection.

    Parameters
    ----------
    truth : (i, j, k)
        Drawn in green where given.
    most
        Slices at most.
    """
    volume = result.volume
    voxels, lungs = volume.to_lps(), volume.to_lps(result.lungs) > 0
    infection = volume.to_lps(result.mask) > 0
    layers: list[tuple[AnyArray, tuple[int, int, int], bool]] = [(lungs, _LUNGS, False)]
    if truth is not None:
        layers.append((volume.to_lps(truth), _TRUTH, False))
    if result.classes is None:
        layers.append((infection, _INFECTION, True))
    else:
        classes = volume.to_lps(result.classes)
        layers += [(classes == value, colour, True) for value, (_, colour) in _CLASSES.items()]
    picked = _picked(lungs, infection, most)
    size = _tile_size(voxels.shape[1:], volume.lps_spacing_mm[1:], _TILE if len(picked) > 1 else _ONE_TILE)
    tiles = []
    for index in picked:
        grey = window_in_place(voxels[index].astype(np.float32), volume.intensity, _WINDOW_HU)
        tile = _tile(grey, [(layer[index], colour, filled) for layer, colour, filled in layers], size)
        _label(tile, f"{index + 1}/{len(voxels)}")
        tiles.append(tile)
    columns = min(_COLUMNS, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)])
    caption = _caption(result, max(sheet.shape[1], _CAPTION_WIDTH), truth is not None)
    sheet = np.pad(sheet, ((0, 0), (0, caption.shape[1] - sheet.shape[1]), (0, 0)))
    return png_bytes(np.vstack([caption, sheet]))


def _picked(lungs: BoolArray, infection: BoolArray, most: int) -> list[int]:
    """Slices to show, from the head down."""
    shown = np.flatnonzero(lungs.any(axis=(1, 2)))
    if not len(shown):
        shown = np.arange(len(lungs))
    picked = shown[np.unique(np.linspace(0, len(shown) - 1, most).round().astype(int))]
    area = np.array([np.count_nonzero(marked) for marked in infection])
    if area.any():
        largest = int(area.argmax())
        picked[np.abs(picked - largest).argmin()] = largest
    return [int(index) for index in picked[::-1]]


def _tile_size(shape: tuple[int, ...], spacing_mm: tuple[float, ...], longest: int) -> tuple[int, int]:
    """Rows and columns of a tile in which a millimetre is as long one way as the other."""
    rows_mm, columns_mm = (n * mm for n, mm in zip(shape, spacing_mm, strict=True))
    scale = longest / max(rows_mm, columns_mm)
    return max(1, round(rows_mm * scale)), max(1, round(columns_mm * scale))


def _tile(
    grey: npt.NDArray[np.float32],
    layers: list[tuple[BoolArray, tuple[int, int, int], bool]],
    size: tuple[int, int],
) -> ByteArray:
    rows, columns = size
    shrinks = rows < grey.shape[0]
    small = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    tile = cv2.cvtColor(np.rint(small * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    for layer, colour, filled in layers:
        way = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
        marked = cv2.resize(layer.astype(np.float32), (columns, rows), interpolation=way) > 0
        if filled:
            tile[marked] = np.rint((1 - _FILLING) * tile[marked] + _FILLING * np.array(colour)).astype(
                np.uint8
            )
        outlines, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, colour, 1)
    return np.asarray(tile, np.uint8)


def _label(tile: ByteArray, number: str) -> None:
    """Write the sides at the edges, and which slice it is."""
    rows, columns = tile.shape[:2]
    _write(tile, "R", (4, rows // 2), _TEXT)
    _write(tile, "L", (columns - 16, rows // 2), _TEXT)
    _write(tile, number, (4, rows - 8), _DIM)


def _caption(result: Segmentation, width: int, with_truth: bool) -> ByteArray:
    """Lines above the slices: which scan, what the colours are, what it measures, what to beware of."""
    volume, q = result.volume, result.quantification
    legend: list[tuple[str, tuple[int, int, int]]] = [("lungs", _LUNGS)]
    legend += [("infection", _INFECTION)] if result.classes is None else list(_CLASSES.values())
    if with_truth:
        legend.append(("truth", _TRUTH))
    numbers = ""
    if q.both is not None:
        ml = "" if q.both.infection_ml is None else f"{q.both.infection_ml:.1f} ml, "
        numbers = f"infection {ml}{q.both.infection_percent:.1f} % of the lung"
    sides = (
        "patient's right at the left"
        if volume.grid.has_size
        else "sides and front as in radiological display"
    )
    lines = [
        printable(volume.source),
        numbers or "no lung was found",
        *([f"WARNING: {', '.join(q.warnings)}: see the report"] if q.warnings else []),
        f"{sides}; slices counted from the feet",
        f"model {result.provenance.model} {result.provenance.model_version}",
        "research software, not a medical device",
    ]
    caption = np.zeros((_LINE * (len(lines) + 1) + 8, width, 3), np.uint8)
    for number, line in enumerate(lines):
        colour = _INFECTION if line.startswith("WARNING") else _TEXT if number < 2 else _DIM
        _write(caption, line, (6, _LINE * (number + 1)), colour)
    left = 6
    for name, colour in legend:
        _write(caption, name, (left, _LINE * (len(lines) + 1)), colour)
        left += 12 * len(name) + 12
    return caption


def _write(picture: ByteArray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write letters, on a dark rim so that they are seen on white; what the font lacks is written as code."""
    shown = text.encode("ascii", "backslashreplace").decode("ascii")
    for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(picture, shown, place, _FONT, 0.5, shade, thickness, cv2.LINE_AA)
