"""Small training data for the tests of the loop."""

from pathlib import Path

import cv2
import numpy as np


def write_slice(folder: Path, name: str, seed: int, shape: tuple[int, int] = (70, 90)) -> None:
    """One slice with a bright disc on two dark lungs, and its mask."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 210.0)
    for centre in (0.27, 0.73):
        image[((row / shape[0] - 0.5) / 0.42) ** 2 + ((column / shape[1] - centre) / 0.2) ** 2 < 1] = 45
    disc = (row - rng.uniform(25, 45)) ** 2 + (column - rng.uniform(15, 30)) ** 2 < 60
    image[disc] = 140
    image += rng.normal(0, 6, shape)
    for sub, picture in (("Imgs", np.clip(image, 0, 255)), ("GT", disc * 255)):
        path = folder / sub / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture.astype(np.uint8))
