"""Accuracy and speed of the lung finder against lung masks.

Run with ``python benchmarks/lungs.py``. The data sets are looked for in ``INFNET_DATA``, or in
``../shared/data`` beside the repository. Column "lesion in" is the share of the annotated infection that lies
in the found lungs: what is outside is lost to the measurement. Column "right : left" is the share of each
side.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import find_lungs
from infnet_runtime.scan.ct import Intensity

VOLUMES = ("29_86491_1", "4_85506_1", "7_85703_0")
REPEATS = 3


def dice(a: BoolArray, b: BoolArray) -> float:
    return 2 * int(np.count_nonzero(a & b)) / max(1, int(a.sum()) + int(b.sum()))


def share_inside(mask: BoolArray, lungs: BoolArray) -> float:
    return int(np.count_nonzero(mask & lungs)) / max(1, int(mask.sum()))


def read_mask(path: Path) -> ByteArray:
    image: Any = nib.load(path)  # typed without its voxels
    return np.asarray(image.dataobj, np.uint8)


def grey(path: Path) -> ByteArray:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"cannot read {path}")
    return np.asarray(picture, np.uint8)


def volumes(folder: Path) -> None:
    print(
        f"{'volume':<14} {'shape':<16} {'Dice':>6} {'lesion in':>9} {'right : left':>13} "
        f"{'CPU s (min, max)':>17}"
    )
    for name in VOLUMES:
        ct = open_scan(folder / f"radiopaedia_{name}_ct.nii.gz").volume
        truth, lesion = (
            ct.to_lps(read_mask(folder / f"radiopaedia_{name}_{part}.nii.gz")) > 0
            for part in ("lung", "infection")
        )
        seconds = []
        for _ in range(REPEATS + 1):  # the first is the warm-up
            start = time.process_time()
            labels = find_lungs(ct.to_lps(), ct.lps_spacing_mm, ct.intensity)
            seconds.append(time.process_time() - start)
        right = np.mean(labels[labels > 0] == 1)
        shape = " x ".join(map(str, labels.shape))
        print(
            f"{name:<14} {shape:<16} {dice(labels > 0, truth):6.3f} {share_inside(lesion, labels > 0):9.3f} "
            f"{right:6.2f} : {1 - right:4.2f} {min(seconds[1:]):10.2f}, {max(seconds[1:]):4.2f}"
        )


def slices(folder: Path) -> None:
    scores, inside = [], []
    for path in sorted((folder / "ct").glob("*.png")):
        labels = find_lungs(grey(path)[None], (1.0, 1.0, 1.0), Intensity.WINDOWED)[0] > 0
        scores.append(dice(labels, grey(folder / "lung" / path.name) > 0))
        inside.append(share_inside(grey(folder / "infection" / path.name) > 0, labels))
    print(f"\n{len(scores)} contrast-enhanced slices, one by one, nominal spacing of 1 mm")
    print(
        f"Dice mean {np.mean(scores):.3f}, median {np.median(scores):.3f}, "
        f"below 0.8: {np.mean(np.less(scores, 0.8)):.0%}"
    )
    print(f"lesion in, mean {np.mean(inside):.3f}")


def main() -> None:
    root = Path(os.environ.get("INFNET_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        sys.exit(f"no data sets at {root}; set INFNET_DATA to their folder")
    cv2.setNumThreads(1)
    volumes(root / "radiopaedia-covid-volumes")
    slices(root / "coronacases-slices")


if __name__ == "__main__":
    main()
