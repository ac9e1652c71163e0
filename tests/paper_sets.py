"""COVID-SemiSeg in a tiny form, for the benchmark of the paper's tables."""

from pathlib import Path

import cv2
import numpy as np

from train_slices import write_slice


def write_sets(root: Path) -> Path:
    """Four slices to train on and three to test on, transposed; consolidation in one of each.

    The folder holds ``covid-semiseg``.
    """
    training, testing = (root / "covid-semiseg" / folder for folder in ("TrainingSet", "TestingSet"))
    for i in range(7):
        write_slice(root / "made", f"{i}", seed=i)
        picture, mask = (cv2.imread(str(root / "made" / f / f"{i}.png"), 0) for f in ("Imgs", "GT"))
        infected = mask > 0
        right = infected & (np.arange(mask.shape[1]) > np.nonzero(infected)[1].mean()) & (i in (0, 4))
        classes = np.where(right, 2, np.where(infected, 1, 0))
        if i < 4:
            _write(training / "LungInfection-Train/Doctor-label", i, {"Imgs": picture, "GT": mask})
            _write(training / "MultiClassInfection-Train", i, {"Imgs": picture, "GT": classes})
            continue
        _write(testing / "LungInfection-Test", i, {"Imgs": picture, "GT": mask})
        of_class = {f"GT-{kind}": (classes == kind) * 255 for kind in (1, 2)}
        _write(testing / "MultiClassInfection-Test", i, {"Imgs": picture, **of_class})
    return root


def _write(
    folder: Path, name: int, pictures: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
) -> None:
    for part, picture in pictures.items():
        path = folder / part / f"{name}.{'jpg' if part == 'Imgs' else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.ascontiguousarray(picture.T.astype(np.uint8)))
