"""Contact sheets of a segmented scan, to look at what the numbers of the benchmark mean."""

from pathlib import Path

import cv2
import numpy as np

from infnet_runtime import Segmentation
from infnet_runtime.arrays import BoolArray
from infnet_runtime.io.png import png_bytes
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.slices.preprocess import to_grey

_RED, _GREEN, _BLUE = (0, 0, 255), (0, 220, 0), (255, 90, 0)  # as OpenCV orders colours
_COLUMNS = 6
_TILE = 256


def write_overlay(
    path: Path,
    result: Segmentation,
    truth: BoolArray | None,
    spec: PreprocessSpec,
    *,
    most: int = 30,
) -> None:
    """Write some slices in radiological display: prediction red, truth green, lungs blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = result.volume
    layers = [(volume.to_lps(result.lungs) > 0, _BLUE), (volume.to_lps(result.mask) > 0, _RED)]
    if truth is not None:
        layers.insert(1, (volume.to_lps(truth), _GREEN))
    slices = np.flatnonzero(layers[0][0].any(axis=(1, 2)))
    slices = slices[np.unique(np.linspace(0, len(slices) - 1, most).round().astype(int))]
    tiles = []
    for i in slices:
        grey = to_grey(volume.to_lps()[i], volume.intensity, spec) * 255
        tile = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR)
        for layer, colour in layers:
            outlines, _ = cv2.findContours(
                layer[i].astype(np.uint8).copy(), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outlines, -1, colour, 2)
        tiles.append(cv2.resize(tile, (_TILE, _TILE), interpolation=cv2.INTER_AREA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
    path.write_bytes(png_bytes(np.vstack(rows)))
