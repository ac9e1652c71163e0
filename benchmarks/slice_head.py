"""A linear head on the deepest features in place of a rule on the map, to tell infected slices from others.

    infnet-export weights MODEL.onnx -o weights.safetensors
    python benchmarks/slice_gate.py DATA --healthy LIDC-IDRI-0001.nii.gz --slices scores.json
    python benchmarks/slice_head.py DATA weights.safetensors scores.json --healthy LIDC-IDRI-0001.nii.gz

The features f5 of a slice are pooled over its pixels, by their mean, their largest value, or both, and a
logistic regression with a ridge is fitted on the slices that fit. Pooling and ridge are those with the
largest AUC where each case in turn is left out. The rule of ``slice_gate.py`` is compared on the same slices.
Of the larger sets every second or third slice is taken: a slice costs half a second.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from slice_gate import Pair, auc, kept_slices, with_interval
from slice_scores import GATE_SCORE, Labelled, Measured, labelled_scans

from infnet_runtime.arrays import BoolArray, DoubleArray
from infnet_runtime.cpu import limit_process
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_train.networks.inf_net import InfNet
from infnet_train.weights.trained import TrainedNetwork, read_network

RIDGES = (0.001, 0.01, 0.1, 1.0, 10.0)
# Every n-th picture of a set that fits and of one that measures, and every n-th slice of a scan.
PICTURES = {("normal", True): 3, ("normal", False): 2, ("coronacases", True): 2}
SLICES = {"radiopaedia_10_85902_3": 2}
OF_HEALTHY = 3
_ROUNDS = 50  # of Newton's method; fewer are enough


def picked(scans: Iterator[Labelled]) -> Iterator[tuple[Labelled, int]]:
    """Scans, and of which of their slices each n-th counts."""
    seen: Counter[tuple[str, bool]] = Counter()
    for scan in scans:
        kind = scan.case.split("_")[0], scan.fits
        seen[kind] += 1
        if (seen[kind] - 1) % PICTURES.get(kind, 1) == 0:
            yield (
                scan,
                OF_HEALTHY if scan.truth is None and scan.nominal_mm is None else SLICES.get(scan.name, 1),
            )


def pooled(
    trained: TrainedNetwork, scan: Labelled, step: int
) -> Iterator[tuple[int, DoubleArray, DoubleArray]]:
    """Number of a slice, mean and largest value of each of its 2048 features."""
    assert isinstance(trained.network, InfNet)
    lungs, _ = lungs_of(scan.volume, scan.lungs)
    looked_at = region(lungs, scan.volume.grid, trained.preprocess.crop_margin_mm)
    voxels, spacing_mm = scan.volume.to_lps(), scan.volume.lps_spacing_mm[0]
    box = looked_at.rows, looked_at.columns
    for number in looked_at.slices[::step]:
        batch = volume_to_network(
            voxels, [number], box, scan.volume.intensity, trained.preprocess, spacing_mm=spacing_mm
        )
        with torch.inference_mode():
            f5 = trained.network.backbone(torch.from_numpy(batch))[3][0].double()
        yield number, f5.mean((1, 2)).numpy(), f5.amax((1, 2)).numpy()


def logistic(x: DoubleArray, infected: BoolArray, ridge: float) -> tuple[DoubleArray, float]:
    """Weights and offset, by Newton's method in the span of the samples, which are fewer than the features.

    Parameters
    ----------
    x : (samples, features)
    """
    products, n = x @ x.T, len(x)
    own, offset = np.zeros(n), 0.0
    for _ in range(_ROUNDS):
        logits = products @ own + offset
        likely = 1 / (1 + np.exp(-logits))
        weight = np.maximum(likely * (1 - likely), 1e-6)
        system = np.ones((n + 1, n + 1))
        system[:n, :n] = products + ridge * np.diag(1 / weight)
        system[n, n] = 0
        solved = np.linalg.solve(system, np.append(logits + (infected - likely) / weight, 0))
        own, offset = solved[:n], float(solved[n])
    return x.T @ own, offset


class Table:
    """Slices with their features, and what is known of them.

    Parameters
    ----------
    rows
        Of each slice its scan, its number, the means and the largest values.
    scans
        By name, from ``slice_gate.py``.
    """

    def __init__(
        self, rows: list[tuple[str, int, DoubleArray, DoubleArray]], scans: dict[str, Measured]
    ) -> None:
        slices = {(scan.name, one.number): one for scan in scans.values() for one in scan.slices}
        found = [slices[name, number] for name, number, *_ in rows]
        self.infected = np.array([one.infected for one in found])
        self.rule = np.array([one.scores[GATE_SCORE] for one in found])
        self.fits = np.array([scans[name].fits for name, *_ in rows])
        self.is_volume = np.array([scans[name].is_volume for name, *_ in rows])
        self.cases = np.array([scans[name].case for name, *_ in rows])
        means, largest = (np.stack([row[k] for row in rows]) for k in (2, 3))
        self.features = {
            "mean": self._scaled(means),
            "largest": self._scaled(largest),
            "both": self._scaled(np.concatenate([means, largest], axis=1)),
        }

    def _scaled(self, x: DoubleArray) -> DoubleArray:
        """By the slices that fit; the length of a sample is about 1."""
        fitting = x[self.fits]
        scaled: DoubleArray = (x - fitting.mean(axis=0)) / (fitting.std(axis=0) + 1e-6) / np.sqrt(x.shape[1])
        return scaled

    def left_out(self, x: DoubleArray, ridge: float) -> DoubleArray:
        """Scores of the slices that fit, each case by a head that has not seen it."""
        scores = np.full(len(x), np.nan)
        for case in sorted(set(self.cases[self.fits])):
            out = self.cases == case
            seen = self.fits & ~out
            weights, offset = logistic(x[seen], self.infected[seen], ridge)
            scores[self.fits & out] = x[self.fits & out] @ weights + offset
        return scores

    def by_case(self, which: BoolArray, scores: DoubleArray) -> list[Pair]:
        """Slices of each case together."""
        masks = [which & (self.cases == case) for case in sorted(set(self.cases[which]))]
        return [(self.infected[mask], scores[mask]) for mask in masks]


def compared(table: Table) -> dict[str, Any]:
    """The head against the rule."""
    tried = {
        (pooling, ridge): table.left_out(x, ridge)
        for pooling, x in table.features.items()
        for ridge in RIDGES
    }
    infected = table.infected[table.fits]
    quality = {key: auc(infected, scores[table.fits]) for key, scores in tried.items()}
    pooling, ridge = max(quality, key=lambda key: quality[key])
    x = table.features[pooling]
    weights, offset = logistic(x[table.fits], infected, ridge)
    groups = {
        "fitting volumes, each case left out": (table.fits & table.is_volume, tried[pooling, ridge]),
        "fitting, with pictures, each case left out": (table.fits, tried[pooling, ridge]),
        "measuring volumes": (~table.fits & table.is_volume, x @ weights + offset),
        "measuring, with pictures": (~table.fits, x @ weights + offset),
    }
    return {
        "pooling": pooling,
        "ridge": ridge,
        "auc_left_out": {f"{name}, {value:g}": round(found, 4) for (name, value), found in quality.items()},
        "groups": {
            name: {
                "slices": int(which.sum()),
                "infected": int(table.infected[which].sum()),
                "head": with_interval(table.by_case(which, scores), auc),
                "rule": with_interval(table.by_case(which, table.rule), auc),
            }
            for name, (which, scores) in groups.items()
        },
    }


def to_markdown(found: dict[str, Any]) -> str:
    """A row for each group."""
    lines = [
        f"Head on f5, pooled: {found['pooling']}, ridge {found['ridge']:g}; AUC and 95 % interval.",
        "",
        "| slices | n | infected | head on f5 | rule on the map |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in found["groups"].items():
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*row[kind]) for kind in ("head", "rule")]
        lines.append(f"| {name} | {row['slices']} | {row['infected']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("weights", type=Path, help="weights of the model")
    parser.add_argument("scores", type=Path, help="what slice_gate.py --slices kept")
    parser.add_argument("--healthy", type=Path, action="append", default=[], help="a scan without infection")
    parser.add_argument(
        "--features", type=Path, help="keep the pooled features here (.npz); read where it is"
    )
    parser.add_argument("--json", type=Path, help="write every number here")
    options = parser.parse_args()
    limit_process(1)
    torch.set_num_threads(1)
    if options.features and options.features.is_file():
        kept = np.load(options.features)
        rows = list(zip(*(kept[name] for name in ("names", "numbers", "mean", "largest")), strict=True))
    else:
        trained, rows = read_network(options.weights, purpose="take features from"), []
        for scan, step in picked(labelled_scans(options.data, options.healthy)):
            rows += [(scan.name, *row) for row in pooled(trained, scan, step)]
            print(scan.name, len(rows), file=sys.stderr)
        if options.features:
            names, numbers, means, largest = zip(*rows, strict=True)
            np.savez(
                options.features,
                names=np.array(names),
                numbers=np.array(numbers),
                mean=np.array(means),
                largest=np.array(largest),
            )
    _, scans = kept_slices(options.scores)
    found = compared(
        Table([(str(name), int(number), *both) for name, number, *both in rows], {s.name: s for s in scans})
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(found))


if __name__ == "__main__":
    main()
