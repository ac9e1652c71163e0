"""A slice gate for a model: which score tells infected slices from others, from where on, at what cost.

    python benchmarks/slice_gate.py DATA --healthy LIDC-IDRI-0001.nii.gz --json FILE --metrics gate.json
    infnet-export metrics MODEL.onnx gate.json

The first command fits and measures, the second writes the gate into the model file. DATA is the folder of the
data sets; which of them fit and which measure says ``slice_scores.py``.

The gate's score is that of :mod:`infnet_runtime.measure.slices`, the others are compared with it. Each gets
its threshold by one rule: ``MARGIN`` times the largest at which all lesions that are marked in the fitting
volumes are kept. A lesion is a piece of more than 0.1 ml of the labels; it is kept while a slice in which the
mask touches it passes. Intervals are 95 % percentiles of 2000 draws of whole cases.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from slice_scores import GATE_SCORE, Lesion, Measured, Slice, labelled_scans, measured

from infnet_runtime import load
from infnet_runtime.arrays import BoolArray, DoubleArray
from infnet_runtime.cpu import limit_process
from infnet_runtime.model.slice_gate import SliceGate

MARGIN = 0.5
STEP_MM2 = 10.0  # the gate's threshold is rounded down to a multiple
DRAWS, SEED = 2000, 0

Pair = tuple[BoolArray, DoubleArray]
"""Which slices are infected, and their scores."""


def segmented(options: argparse.Namespace) -> tuple[dict[str, str], list[Measured]]:
    """The model, and every scan with its slices."""
    scans = []
    with load(options.model, device="cpu", threads=1, backend=options.backend, precision="f32") as segmenter:
        for scan in labelled_scans(options.data, options.healthy):
            result = segmenter.predict(scan.volume, lungs=scan.lungs, keep_probability=True)
            scans.append(measured(scan, result))
            print(scan.name, len(scans[-1].slices), file=sys.stderr)
    told = result.provenance
    names = ("model", "model_version", "model_sha256", "backend", "precision")
    return {name: getattr(told, name) for name in names}, scans


def score_of_lesion(scan: Measured, lesion: Lesion, score: str) -> float:
    """The largest of the slices in which the mask touches it; below 0 where it touches it nowhere."""
    by_number = {one.number: one.scores[score] for one in scan.slices}
    return max((by_number[k] for k in lesion.touched), default=-1.0)


def threshold(scans: Iterable[Measured], score: str) -> float:
    """MARGIN times the smallest score of a marked lesion of the fitting volumes."""
    found = [score_of_lesion(scan, lesion, score) for scan in scans if scan.fits for lesion in scan.lesions]
    least = MARGIN * min(value for value in found if value >= 0)
    return STEP_MM2 * (least // STEP_MM2) if score == GATE_SCORE else least


def auc(infected: BoolArray, scores: DoubleArray) -> float:
    """Chance that an infected slice scores higher than another, half of it where they are equal."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    n = int(infected.sum())
    return float((ranks[infected].sum() - n * (n + 1) / 2) / (n * (len(infected) - n)))


def sensitivity(infected: BoolArray, passes: DoubleArray) -> float:
    """Share of the infected slices that pass."""
    return float(passes[infected].mean())


def specificity(infected: BoolArray, passes: DoubleArray) -> float:
    """Share of the others that do not."""
    return float(1 - passes[~infected].mean())


def with_interval(by_case: Sequence[Pair], measure: Callable[[BoolArray, DoubleArray], float]) -> list[float]:
    """Value and 95 % interval; draws without infected or without other slices are left out."""

    def value(cases: Sequence[Pair]) -> float:
        infected, scores = (np.concatenate(parts) for parts in zip(*cases, strict=True))
        return measure(infected, scores) if 0 < infected.sum() < len(infected) else float("nan")

    draw = np.random.default_rng(SEED)
    drawn = [value([by_case[k] for k in draw.integers(0, len(by_case), len(by_case))]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return [round(number, 4) for number in (value(by_case), float(low), float(high))]


def by_case(scans: Sequence[Measured], score: Callable[[Slice], float]) -> list[Pair]:
    """Slices of each case together."""
    cases: dict[str, list[Slice]] = {}
    for scan in scans:
        cases.setdefault(scan.case, []).extend(scan.slices)
    return [
        (np.array([one.infected for one in slices]), np.array([score(one) for one in slices], float))
        for slices in cases.values()
    ]


def compared(scans: Sequence[Measured], score: str, least: float) -> dict[str, Any]:
    """How well a score tells slices apart, and at its threshold."""
    passes = by_case(scans, lambda one: float(one.scores[score] >= least))
    return {
        "slices": sum(len(scan.slices) for scan in scans),
        "infected": sum(one.infected for scan in scans for one in scan.slices),
        "auc": with_interval(by_case(scans, lambda one: one.scores[score]), auc),
        "sensitivity": with_interval(passes, sensitivity),
        "specificity": with_interval(passes, specificity),
    }


def cost(scan: Measured, score: str, least: float) -> dict[str, Any]:
    """What silencing does to a volume."""
    silenced = [one for one in scan.slices if one.scores[score] < least]
    passing = [one for one in scan.slices if one.scores[score] >= least]
    lesions = [(lesion, score_of_lesion(scan, lesion, score)) for lesion in scan.lesions]
    return {
        "slices": len(scan.slices),
        "infected": sum(one.infected for one in scan.slices),
        "infected_that_pass": sum(one.infected for one in passing),
        "others_that_pass": sum(not one.infected for one in passing),
        "lesions": len(lesions),
        "lesions_marked": sum(value >= 0 for _, value in lesions),
        "lesions_kept": sum(value >= least for _, value in lesions),
        "lost_ml": [round(lesion.ml, 3) for lesion, value in lesions if 0 <= value < least],
        "marked_ml": round(sum(one.right_ml + one.false_ml for one in scan.slices), 2),
        "removed_right_ml": round(sum(one.right_ml for one in silenced), 2),
        "removed_false_ml": round(sum(one.false_ml for one in silenced), 2),
    }


def report(model: dict[str, str], scans: Sequence[Measured]) -> dict[str, Any]:
    """Every number."""
    volumes = [scan for scan in scans if scan.is_volume]
    groups = {
        "fitting volumes": [scan for scan in volumes if scan.fits],
        "measuring volumes": [scan for scan in volumes if not scan.fits],
        "fitting, with pictures": [scan for scan in scans if scan.fits],
        "measuring, with pictures": [scan for scan in scans if not scan.fits],
    }
    scores = {}
    for score in scans[0].slices[0].scores:
        least = threshold(volumes, score)
        scores[score] = {
            "threshold": least,
            "groups": {name: compared(group, score, least) for name, group in groups.items()},
            "volumes": {scan.name: {"fits": scan.fits, **cost(scan, score, least)} for scan in volumes},
        }
    return {"model": model, "margin": MARGIN, "gate_score": GATE_SCORE, "scores": scores}


def gate_of(found: dict[str, Any]) -> SliceGate:
    """What goes into the model file: measured on the volumes that did not fit."""
    own = found["scores"][GATE_SCORE]
    numbers = own["groups"]["measuring volumes"]
    return SliceGate(
        mm2=own["threshold"],
        sensitivity=round(numbers["sensitivity"][0], 3),
        specificity=round(numbers["specificity"][0], 3),
        slices=numbers["slices"],
    )


def to_markdown(found: dict[str, Any]) -> str:
    """Three tables: the scores, the gate, what it does to each volume."""
    model, scores = found["model"], found["scores"]
    own = scores[GATE_SCORE]
    lines = [
        f"Model {model['model']} {model['model_version']} (sha256 {model['model_sha256'][:12]}), "
        f"{model['backend']}, {model['precision']}. The gate: {GATE_SCORE} of {own['threshold']:g} mm2 or "
        "more.",
        "",
        "| score | AUC, fitting volumes | threshold | AUC, measuring volumes | sensitivity | specificity | "
        "lesions lost | right ml removed | false ml removed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in scores.items():
        fitting, measuring = (one["groups"][f"{kind} volumes"] for kind in ("fitting", "measuring"))
        others = [row for row in one["volumes"].values() if not row["fits"]]
        lines.append(
            f"| {f'**{name}**' if name == GATE_SCORE else name} | {fitting['auc'][0]:.3f} | "
            f"{one['threshold']:.3g} | "
            + " | ".join(_with_interval(measuring[key]) for key in ("auc", "sensitivity", "specificity"))
            + f" | {sum(len(row['lost_ml']) for row in others)} of "
            f"{sum(row['lesions_marked'] for row in others)} | "
            f"{sum(row['removed_right_ml'] for row in others):.1f} | "
            f"{sum(row['removed_false_ml'] for row in others):.1f} |"
        )
    lines += [
        "",
        f"| {GATE_SCORE} | slices | infected | AUC | sensitivity | specificity |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in own["groups"].items():
        cells = [_with_interval(group[key]) for key in ("auc", "sensitivity", "specificity")]
        lines.append(f"| {name} | {group['slices']} | {group['infected']} | {' | '.join(cells)} |")
    lines += [
        "",
        "| volume | fits | slices with lung | infected, of them passing | others, of them passing | lesions "
        "> 0.1 ml, marked, kept | ml marked | right ml removed | false ml removed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in own["volumes"].items():
        others = row["slices"] - row["infected"]
        lines.append(
            f"| {name} | {'yes' if row['fits'] else 'no'} | {row['slices']} | {row['infected']}, "
            f"{row['infected_that_pass']} | {others}, {row['others_that_pass']} | {row['lesions']}, "
            f"{row['lesions_marked']}, {row['lesions_kept']} | {row['marked_ml']:.1f} | "
            f"{row['removed_right_ml']:.2f} | {row['removed_false_ml']:.1f} |"
        )
    return "\n".join(lines)


def _with_interval(numbers: Sequence[float]) -> str:
    value, low, high = numbers
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def kept_slices(path: Path) -> tuple[dict[str, str], list[Measured]]:
    """What an earlier run wrote to --slices."""
    found = json.loads(path.read_text("utf-8"))
    scans = [
        Measured(
            **{
                **scan,
                "slices": tuple(Slice(**one) for one in scan["slices"]),
                "lesions": tuple(Lesion(one["ml"], tuple(one["touched"])) for one in scan["lesions"]),
            }
        )
        for scan in found["scans"]
    ]
    return found["model"], scans


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--healthy", type=Path, action="append", default=[], help="a scan without infection")
    parser.add_argument("--model", type=Path, help="the shipped model that suits the backend if absent")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--slices", type=Path, help="keep all scores here; read where the file is there")
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--metrics", type=Path, help="write the gate here, for infnet-export metrics")
    options = parser.parse_args()
    limit_process(1)
    if options.slices and options.slices.is_file():
        model, scans = kept_slices(options.slices)
    else:
        model, scans = segmented(options)
        if options.slices:
            kept = {"model": model, "scans": [asdict(scan) for scan in scans]}
            options.slices.write_text(json.dumps(kept), "utf-8")
    found = report(model, scans)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    if options.metrics:
        options.metrics.write_text(json.dumps(gate_of(found).metrics(), indent=1) + "\n", "utf-8")
    print(to_markdown(found))


if __name__ == "__main__":
    main()
