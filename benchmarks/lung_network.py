"""The lung network against the threshold finder, on the scans that no network was trained on.

Run with ``python benchmarks/lung_network.py --model LUNGS.onnx``; without ``--model`` the thresholds alone
are measured. The data sets are looked for in ``INFNET_DATA``, or in ``../shared/data`` beside the repository.
``--without-masks`` takes further scans (NIfTI): of the chest, where the two ways are compared with each
other, and of other parts of the body, where every ml is wrong.

Columns: Dice with the lung mask; the shares of the first and of the second reader's infection that lie
outside the lungs found, and in brackets outside the mask of the data set itself; share of lung on the wrong
side; ml found; CPU milliseconds a slice, everything included, in one thread.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.io import open_scan
from infnet_runtime.lungs import find_lungs, given_lungs
from infnet_runtime.lungs.agreement import LungDisagreement
from infnet_runtime.lungs.both_ways import take_from_network
from infnet_runtime.lungs.network import network_labels
from infnet_runtime.lungs.split import split_sides
from infnet_runtime.scan.ct import Intensity

VOLUMES = (
    "radiopaedia-covid-volumes/radiopaedia_4_85506_1",
    "radiopaedia-covid-volumes/radiopaedia_29_86491_1",
    "radiopaedia-covid-volumes-2/radiopaedia_29_86490_1",
)
SEEN_VOLUMES = (  # of the training data: for what thresholds lose in them
    "radiopaedia-covid-volumes/radiopaedia_7_85703_0",
    "radiopaedia-covid-volumes-2/radiopaedia_10_85902_1",
    "radiopaedia-covid-volumes-2/radiopaedia_10_85902_3",
)
ENHANCED_CASES = ("002", "006")
# Grey levels of the un-enhanced pictures that become 0 and 255, as in ``infnet_train.data.prepare``.
PICTURE_GREY = {"002": (-4.4, 110.1), "006": (-5.0, 108.5)}
NOT_COVERED = 255
TISSUE_GREY = 212

Finder = Callable[[npt.NDArray[Any], tuple[float, float, float], Intensity], ByteArray]


@dataclass(frozen=True, eq=False)
class Case:
    """A scan with what is known of it; masks in LPS."""

    name: str
    voxels: npt.NDArray[Any]
    spacing_mm: tuple[float, float, float]
    intensity: Intensity
    sides: ByteArray | None = None
    readers: tuple[BoolArray, ...] = ()
    one_by_one: bool = False


def read(path: Path) -> npt.NDArray[np.uint8]:
    image: Any = nib.load(path)  # typed without its voxels
    return np.asarray(image.dataobj, np.uint8)


def grey(path: Path) -> ByteArray:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SystemExit(f"cannot read {path}")
    return np.asarray(picture, np.uint8)


def volumes(root: Path, names: tuple[str, ...]) -> Iterator[Case]:
    for name in names:
        ct = open_scan(root / f"{name}_ct.nii.gz").volume
        lungs, first = (read(root / f"{name}_{part}.nii.gz") for part in ("lung", "infection"))
        sides, readers = given_lungs(lungs, ct.grid).to_lps(), [ct.to_lps(first) > 0]
        second = root / "radiopaedia-second-reader" / f"{Path(name).name}_infection2.nii.gz"
        if second.is_file():
            labels = ct.to_lps(read(second))
            readers.append((labels > 0) & (labels != NOT_COVERED))
        yield Case(Path(name).name, ct.to_lps(), ct.lps_spacing_mm, ct.intensity, sides, tuple(readers))


def whitened(case: Case, which: str) -> Case:
    """The case with the right lung, both lungs, or the lower third of both as dense as soft tissue."""
    assert case.sides is not None
    assert case.intensity is Intensity.WINDOWED
    dense = case.sides == 1 if which == "right" else case.sides > 0
    if which == "lower third":
        with_lung = np.flatnonzero(dense.any(axis=(1, 2)))
        dense[with_lung[len(with_lung) // 3] :] = False
    voxels = case.voxels.copy()
    noise = np.random.default_rng(0).normal(TISSUE_GREY, 8, int(np.count_nonzero(dense)))
    voxels[dense] = np.clip(noise, 0, 255).astype(np.uint8)
    return Case(
        f"{case.name}, {which} white", voxels, case.spacing_mm, case.intensity, case.sides, case.readers
    )


def enhanced(root: Path) -> Iterator[Case]:
    folder = root / "coronacases-slices"
    for case in ENHANCED_CASES:
        files = sorted((folder / "ct").glob(f"*_{case}_*.png"))
        pixels, lungs, infection = (
            np.stack([grey(folder / part / file.name) for file in files])
            for part in ("ct", "lung", "infection")
        )
        yield Case(
            f"coronacases {case}, enhanced", pixels, (6.0, 1.4, 1.4), Intensity.WINDOWED,
            split_sides(lungs > 127), (infection > 127,), one_by_one=True,
        )  # fmt: skip


def pictures(root: Path) -> Iterator[Case]:
    """The cropped pictures of two cases, put together as they were cut out."""
    folder = root / "covid-semiseg-manual"
    images = root / "covid-semiseg/TrainingSet/LungInfection-Train/Pseudo-label/Imgs"
    with (folder / "pairs.csv").open() as table:
        rows = list(csv.DictReader(table))
    for case, (low, high) in PICTURE_GREY.items():
        for number, row in enumerate(r for r in rows if r["case"].endswith(f"_{case}")):
            if number % 6:
                continue
            name = row["picture"]
            image, lungs, infection = (
                grey(path).T[::-1]
                for path in (
                    images / f"{name}.jpg",
                    folder / "Lung" / f"{name}.png",
                    folder / "GT" / f"{name}.png",
                )
            )
            pixels = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
            yield Case(
                f"coronacases {case}, pictures", pixels[None], (1.0, 0.7, 0.7), Intensity.WINDOWED,
                split_sides(lungs[None] > 127), (infection[None] > 127,),
            )  # fmt: skip


@dataclass
class Score:
    """Sums over the slices or scans of one row of the table."""

    both: int = 0
    either: int = 0
    swapped: int = 0
    found_ml: float = 0.0
    truth_ml: float = 0.0
    slices: int = 0
    seconds: float = 0.0
    infection: tuple[list[int], list[int], list[int]] = ([], [], [])

    def add(self, case: Case, finder: Finder) -> ByteArray:
        """Find the lungs of a case and count; gives what was found."""
        start = time.process_time()
        if case.one_by_one:
            found = np.concatenate(
                [finder(plane[None], case.spacing_mm, case.intensity) for plane in case.voxels]
            )
        else:
            found = finder(case.voxels, case.spacing_mm, case.intensity)
        self.seconds += time.process_time() - start
        self.slices += len(found)
        voxel_ml = float(np.prod(case.spacing_mm)) / 1000
        self.found_ml += int(np.count_nonzero(found)) * voxel_ml
        if case.sides is not None:
            truth = case.sides
            both = (found > 0) & (truth > 0)
            self.truth_ml += int(np.count_nonzero(truth)) * voxel_ml
            self.both += int(np.count_nonzero(both))
            self.either += int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
            self.swapped += int(np.count_nonzero(both & (found != truth)))
            for i, infected in enumerate(case.readers):
                while len(self.infection[0]) <= i:
                    for sums in self.infection:
                        sums.append(0)
                self.infection[0][i] += int(np.count_nonzero(infected))
                self.infection[1][i] += int(np.count_nonzero(infected & (found == 0)))
                self.infection[2][i] += int(np.count_nonzero(infected & (truth == 0)))
        return found

    def row(self, name: str, method: str) -> str:
        """One line of the table."""
        dice = f"{2 * self.both / self.either:.4f}" if self.either else "-"
        swapped = f"{self.swapped / self.both:.3%}" if self.both else "-"
        outside = [
            f"{out / max(1, all_):.2%} ({mask / max(1, all_):.2%})"
            for all_, out, mask in zip(*self.infection, strict=True)
        ]
        outside += ["-"] * (2 - len(outside))
        return (
            f"| {name} | {method} | {dice} | {outside[0]} | {outside[1]} | {swapped} "
            f"| {self.found_ml:.0f} | {self.seconds / max(1, self.slices) * 1000:.1f} |"
        )


def network(model: Path, agreement: list[LungDisagreement | None]) -> Finder:
    """As ``infnet-infer`` finds them: the check by thresholds is part of it, and of its time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: FloatArray) -> FloatArray:
        return np.asarray(session.run(None, {name: batch})[0], np.float32)

    def find(
        voxels: npt.NDArray[Any], spacing_mm: tuple[float, float, float], intensity: Intensity
    ) -> ByteArray:
        labels = find_lungs(voxels, spacing_mm, intensity)
        agreement[:] = [take_from_network(network_labels(voxels, spacing_mm, intensity, run), labels)]
        return labels

    return find


def overlay(case: Case, found: dict[str, ByteArray], path: Path, every: int) -> None:
    """Slices with the mask (yellow), the thresholds (blue), the network's right (red) and left (green)."""
    tiles = []
    for k in range(0, len(case.voxels), every):
        plane = case.voxels[k].astype(np.float32)
        if case.intensity is Intensity.HU:
            plane = np.clip((plane + 1050) / 1300, 0, 1) * 255
        scale = 300 / max(plane.shape)
        size = (round(plane.shape[1] * scale), round(plane.shape[0] * scale))
        small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        tile = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)

        def outline(
            mask: BoolArray,
            colour: tuple[int, int, int],
            tile: npt.NDArray[Any] = tile,
            size: tuple[int, int] = size,
        ) -> None:
            pixels = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            contours, _ = cv2.findContours(pixels, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, contours, -1, colour, 1)

        if case.sides is not None:
            outline(case.sides[k] > 0, (0, 220, 220))
        if "threshold" in found:
            outline(found["threshold"][k] > 0, (255, 80, 0))
        if "network" in found:
            outline(found["network"][k] == 1, (0, 0, 255))
            outline(found["network"][k] == 2, (0, 255, 0))
        tiles.append(cv2.copyMakeBorder(tile, 0, 300 - size[1], 0, 300 - size[0], cv2.BORDER_CONSTANT))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 6)
    cv2.imwrite(str(path), np.vstack([np.hstack(tiles[i : i + 6]) for i in range(0, len(tiles), 6)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--without-masks", type=Path, nargs="*", default=[])
    parser.add_argument("--overlays", type=Path, help="folder for pictures")
    parser.add_argument("--seen", action="store_true", help="volumes of the training data as well")
    parser.add_argument("--white", action="store_true", help="volumes with lungs made dense as well")
    asked = parser.parse_args()
    root = Path(os.environ.get("INFNET_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not root.is_dir():
        sys.exit(f"no data sets at {root}; set INFNET_DATA to their folder")
    cv2.setNumThreads(1)
    methods: dict[str, Finder] = {"threshold": find_lungs}
    last: list[LungDisagreement | None] = []
    if asked.model:
        methods["network"] = network(asked.model, last)

    def cases() -> Iterator[Case]:
        yield from volumes(root, VOLUMES + (SEEN_VOLUMES if asked.seen else ()))
        if asked.white:
            for case in volumes(root, VOLUMES[:2]):
                for which in ("right", "both", "lower third"):
                    yield whitened(case, which)
        yield from enhanced(root)
        yield from pictures(root)
        for path in asked.without_masks:
            ct = open_scan(path).volume
            yield Case(path.name.split(".")[0], ct.to_lps(), ct.lps_spacing_mm, ct.intensity)

    scores: dict[tuple[str, str], Score] = {}
    agreement: dict[str, LungDisagreement | None] = {}
    for case in cases():
        found = {}
        for method, finder in methods.items():
            score = scores.setdefault((case.name, method), Score(infection=([], [], [])))
            found[method] = score.add(case, finder)
        if len(found) > 1 and len(case.voxels) > 1 and not case.one_by_one:
            agreement[case.name] = last[0]
        if asked.overlays and len(case.voxels) > 1:
            asked.overlays.mkdir(parents=True, exist_ok=True)
            name = case.name.replace(" ", "_").replace(",", "")
            overlay(case, found, asked.overlays / f"{name}.png", max(1, len(case.voxels) // 24))
    print(
        "| scan | lungs by | Dice | outside, reader 1 (of the mask) | outside, reader 2 | wrong side | ml "
        "| ms a slice |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for (name, method), score in scores.items():
        print(score.row(name, method))
    if agreement:
        print("\n| scan | only thresholds | only the network | other side | below a lung |")
        print("| --- | --- | --- | --- | --- |")
        for name, shares in agreement.items():
            print(
                f"| {name} | no lung | | | |"
                if shares is None
                else f"| {name} | {shares.only_threshold:.1%} | {shares.only_network:.1%} "
                f"| {shares.other_side:.1%} | {shares.below:.1%} |"
            )


if __name__ == "__main__":
    main()
