"""Small training data for the tests of the loop and of the preparation."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

LABELLED = Path("TrainingSet/LungInfection-Train/Doctor-label")
PSEUDO = Path("TrainingSet/LungInfection-Train/Pseudo-label")


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


def add_classes(folder: Path, *, unknown: tuple[str, ...] = ()) -> None:
    """Class masks for the slices of a folder: ground glass above in each disc, consolidation below.

    Parameters
    ----------
    unknown
        Slices whose infection is of unknown class.
    """
    for path in sorted((folder / "GT").glob("*.png")):
        infected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        middle = np.flatnonzero(infected.any(axis=1)).mean()
        classes = np.where(np.arange(len(infected))[:, None] < middle, 1, 2) * infected
        if path.stem in unknown:
            classes = 3 * infected
        write_picture(folder / "Classes" / path.name, classes.astype(np.uint8))


def blobs(seed: int, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Smooth random texture over the whole grey scale, alike for no two seeds."""
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, shape), (0, 0), 5)
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth) * 255, np.uint8)


def write_picture(path: Path, picture: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path
