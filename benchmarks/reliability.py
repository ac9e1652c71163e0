"""Reliability of a model's probabilities on labelled slices: a picture of the curve, and the numbers.

    python benchmarks/reliability.py MODEL.onnx DATA [--turn transpose] [--temperature T] [--png FILE]
        [--json FILE]

DATA is a folder with Imgs/ and GT/. Each slice goes through the network whole, its probability back at its
own size; pixels of all slices are pooled (``--inside-lungs``: those inside the lungs that the runtime finds).

Drawn are the network's own probability and the calibrated one, at the temperature of the model or at
``--temperature``. Nothing is fitted here, so that a test set can be looked at; ``infnet-train calibrate``
fits. The bars below are pixels in each bin, on a logarithmic scale: a point above few pixels means little.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.png import png_bytes
from infnet_runtime.metrics.reliability import LabelledPixels, Reliability, reliability
from infnet_train.assess.calibrate import labelled_pixels
from infnet_train.assess.predict import open_model
from infnet_train.data.masks import read_labelled

Colour = tuple[int, int, int]

_SIDE, _BARS, _EDGE = 520, 120, 60  # pixels: curve, bars below it, margin
_BLACK, _GREY, _RED, _BLUE = (0, 0, 0), (205, 205, 205), (60, 60, 215), (190, 110, 20)  # blue, green, red


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--turn", choices=["none", "transpose", "transpose_flip"], default="none")
    parser.add_argument("--temperature", type=float, help="instead of the model's")
    parser.add_argument("--inside-lungs", action="store_true", help="count pixels inside the lungs only")
    parser.add_argument("--png", type=Path, help="write the curve here")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()

    with open_model(options.model, "cpu", purpose="measure") as opened:
        pixels = labelled_pixels(
            read_labelled(options.data, options.turn),
            opened.predict_uncalibrated,
            inside_lungs=options.inside_lungs,
        )
    own = opened.output.temperature
    temperature = own if options.temperature is None else options.temperature
    curves = measured(pixels, temperature)
    results: dict[str, Any] = {
        "model": options.model.name,
        "model_sha256": opened.sha256,
        "turn": options.turn,
        "inside_lungs": options.inside_lungs,
        "pixels": pixels.infected.size,
        "infected_pixels": int(np.count_nonzero(pixels.infected)),
        "curves": {name: asdict(curve) for name, curve in curves.items()},
    }
    text = json.dumps(results, indent=2, allow_nan=False)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")
    if options.png:
        options.png.write_bytes(png_bytes(drawing(curves)))


def measured(pixels: LabelledPixels, temperature: float) -> dict[str, Reliability]:
    """Curve of the network itself, and that of the temperature where it is not 1."""
    curves = {"T = 1": reliability(pixels)}
    if temperature != 1:
        curves[f"T = {temperature:.3g}"] = reliability(pixels, temperature=temperature)
    return curves


def drawing(curves: dict[str, Reliability]) -> ByteArray:
    """Fraction infected over probability said, and the pixels of each bin."""
    picture = np.full((_SIDE + _BARS + 3 * _EDGE, _SIDE + 2 * _EDGE, 3), 255, np.uint8)
    for tick in np.linspace(0, 1, 6):
        cv2.line(picture, at(tick, 0), at(tick, 1), _GREY)
        cv2.line(picture, at(0, tick), at(1, tick), _GREY)
        write(picture, f"{tick:.1f}", (at(tick, 0)[0] - 12, _EDGE + _SIDE + 18))
        write(picture, f"{tick:.1f}", (_EDGE - 32, at(0, tick)[1] + 5))
    cv2.line(picture, at(0, 0), at(1, 1), _BLACK, 1, cv2.LINE_AA)
    write(picture, "fraction infected, over mean probability", (_EDGE, _EDGE - 36))
    most = max(b.pixels for curve in curves.values() for b in curve.bins)
    for number, ((name, curve), colour) in enumerate(zip(curves.items(), (_RED, _BLUE), strict=False)):
        title = f"{name}: NLL {curve.nll:.4f}, ECE {curve.ece:.4f}, Brier {curve.brier:.4f}"
        write(picture, title, (_EDGE + 12, _EDGE + 22 + 20 * number), colour)
        filled = [
            at(b.mean_probability, b.infected_fraction)
            for b in curve.bins
            if b.mean_probability is not None and b.infected_fraction is not None
        ]
        cv2.polylines(picture, [np.array(filled, np.int32)], False, colour, 2, cv2.LINE_AA)
        for point in filled:
            cv2.circle(picture, point, 4, colour, -1, cv2.LINE_AA)
        draw_bars(picture, curve, most, colour, number, len(curves))
    write(picture, f"pixels in each bin, logarithmic, up to {most}", (_EDGE, _SIDE + _BARS + 2 * _EDGE + 20))
    return picture


def draw_bars(
    picture: ByteArray, curve: Reliability, most: int, colour: Colour, number: int, of: int
) -> None:
    """Bars of one curve beside those of the others."""
    floor = _SIDE + _BARS + 2 * _EDGE
    for b in curve.bins:
        left = _EDGE + _SIDE * (b.low + (b.high - b.low) * number / of)
        width = _SIDE * (b.high - b.low) / of
        height = _BARS * np.log1p(b.pixels) / np.log1p(most)
        cv2.rectangle(
            picture, (round(left) + 1, round(floor - height)), (round(left + width) - 1, floor), colour, -1
        )


def at(x: float, y: float) -> tuple[int, int]:
    """Place of a point of the curve in the picture."""
    return round(_EDGE + _SIDE * float(x)), round(_EDGE + _SIDE * (1 - float(y)))


def write(picture: ByteArray, text: str, place: tuple[int, int], colour: Colour = _BLACK) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
