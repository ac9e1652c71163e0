"""Accuracy of a model file on the labelled data, from the ONNX file alone: the tables of a model card.

    python benchmarks/accuracy.py [MODEL.onnx] [--data DIR] [--prepared DIR] [--json FILE] > tables.md

Two protocols, never mixed (``infnet_runtime.metrics``). ``paper``: each map as the network gives it, before
calibration, stretched to its own range, mean over 256 thresholds, as the published tables. ``clinical``: the
probability as it is, the model's threshold; a slice where neither prediction nor truth has a pixel scores 1
unless another rule is named.

- test slices: the 48 of COVID-SemiSeg, whole picture at network size, the probability back at the picture's
  size; beside them the authors' published maps, scored by the same code.
- volumes: through the whole path of ``infnet-infer`` (lungs found, box, threshold), by volume and, as in the
  paper's Table V, by slice with the healthy slices included, under every rule for empty ones.
- coronacases: contrast-enhanced pictures, and the same labels on the pictures without enhancement
  (``--prepared``, a folder that ``infnet-train data prepare`` wrote), by case.
- a chest CT without COVID-19 (DICOM, needs pydicom): whatever is marked is false.

Volumes against two groups of readers, and the readers against each other: ``benchmarks/validation.py``.

Say with ``--trained-on`` which volumes and cases the model has seen: their rows stay and are marked.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
from measures import (
    RULES,
    Mean,
    Predict,
    ScoredSlice,
    Summary,
    healthy_row,
    score_pictures,
    score_volume,
    summarise,
    volume_row,
)
from overlays import write_overlay
from tables import to_markdown

from infnet_runtime import Segmenter
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.metrics import LabelledSlice
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.model.shipped import default_model
from infnet_runtime.slices.preprocess import predict_slice
from infnet_runtime.version import __version__

DATA = Path(os.environ.get("INFNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
SECTIONS = ("test slices", "volumes", "enhanced", "transferred", "healthy")


def main() -> None:
    options = _options()
    seen = _Seen(
        datasets.volume_names(options.data) + datasets.case_names(options.data, options.prepared),
        trained_on=options.trained_on,
        held_out_cases=options.held_out_cases,
    )
    missing = _missing(options.data, options.prepared)
    chosen = [name for name in SECTIONS if not options.only or name in options.only]
    todo = [name for name in chosen if name not in missing]
    if not todo:
        sys.exit(f"nothing to measure: {'; '.join(missing[name] for name in chosen)}")
    model = options.model or default_model()
    with ExitStack() as stack:
        session = stack.enter_context(
            open_session(model, device=options.device, backend=options.backend, threads=options.threads)
        )
        report: dict[str, Any] = {
            "schema": "infnet.accuracy/1",
            "infnet": __version__,
            "model": {
                "file": model.name,
                "sha256": session.model_sha256,
                "name": session.manifest.name,
                "version": session.manifest.version,
                "training_data": session.manifest.training_data,
            },
            "backend": session.backend,
            "precision": session.precision,
            "device": session.device,
            "threshold": session.manifest.output.threshold,
            "temperature": session.manifest.output.temperature,
            "trained_on": sorted(options.trained_on),
            "held_out_cases": sorted(options.held_out_cases),
            "not_measured": {name: missing[name] for name in chosen if name in missing},
        }
        for name in todo:
            print(f"measuring: {name}", file=sys.stderr)
            match name:
                case "test slices":
                    report[name] = measure_test_slices(session, options.data)
                case "volumes":
                    report[name] = measure_volumes(session, options.data, seen, options.overlays)
                case "enhanced":
                    report[name] = measure_cases(session, datasets.enhanced_slices(options.data), seen)
                case "transferred":
                    report[name] = measure_cases(session, datasets.transferred_slices(options.prepared), seen)
                case "healthy":
                    report[name] = measure_healthy(session, options.data, options.overlays)
    for name, reason in report["not_measured"].items():
        print(f"not measured: {name}: {reason}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    if options.metrics:
        options.metrics.write_text(json.dumps(manifest_metrics(report), indent=1) + "\n", "utf-8")
    print(to_markdown(report))


def manifest_metrics(report: dict[str, Any]) -> dict[str, float]:
    """The few numbers that travel in the manifest: ``infnet-export --metrics``."""
    found: dict[str, float] = {}
    if "test slices" in report:
        own = report["test slices"]["this model"]
        place = "COVID-SemiSeg 48 test slices"
        found[f"{place}, paper protocol, Dice"] = own["paper"]["mean_dice"]["value"]
        found[f"{place}, paper protocol, MAE"] = own["paper"]["mae"]["value"]
        found[f"{place}, clinical protocol, Dice"] = own["clinical"]["dice"]["value"]
    if "volumes" in report:
        for name, row in report["volumes"]["by_volume"].items():
            if not row["in_training"]:
                found[f"{name}, volume, Dice"] = row["dice"]
    return {name: round(value, 4) for name, value in found.items()}


def measure_test_slices(session: Session, data: Path) -> dict[str, Any]:
    """Summary of the model and of each of the published sets of maps."""
    slices = list(datasets.test_slices(data))
    rows: dict[str, Any] = {}
    for model in datasets.PUBLISHED_MODELS:
        if (data / datasets.PUBLISHED / model).is_dir():
            published = score_pictures(
                slices,
                lambda name, _, model=model: datasets.published_map(data, model, name),  # type: ignore[misc]
                OutputSpec(),
            )
            rows[f"published {model}"] = asdict(summarise(published))
    scored = score_pictures(slices, _predict(session), session.manifest.output)
    return {**rows, "this model": asdict(summarise(scored))}


def measure_volumes(session: Session, data: Path, seen: "_Seen", overlays: Path | None) -> dict[str, Any]:
    """Each volume as a whole, and the slices of each, of all, and of those that were not in training."""
    segmenter = Segmenter(session)
    rows: dict[str, Any] = {}
    slices: dict[str, list[ScoredSlice]] = {}
    for name in datasets.volume_names(data):
        volume, truth = datasets.labelled_volume(data, name)
        result = segmenter.predict(volume, keep_probability=True)
        slices[name] = score_volume(name, result, truth)
        rows[name] = {"in_training": seen.is_seen(name), **volume_row(slices[name], result)}
        if overlays:
            write_overlay(overlays / f"{name}.png", result, truth)
    groups = {**{name: [name] for name in rows}, "all": list(rows)}
    unseen = [name for name in rows if not rows[name]["in_training"]]
    if 0 < len(unseen) < len(rows):
        groups["not in training"] = unseen
    by_slice = {
        group: _by_rule([one for name in names for one in slices[name]]) for group, names in groups.items()
    }
    return {"by_volume": rows, "by_slice": by_slice}


def _by_rule(slices: list[ScoredSlice]) -> dict[str, Any]:
    infected = [one for one in slices if one.is_infected]
    return {
        "slices": len(slices),
        "with_infection": len(infected),
        **{f"empty = {rule}": asdict(summarise(slices, empty=rule)) for rule in RULES},
        "infected slices only": asdict(summarise(infected)) if infected else None,
    }


def measure_cases(session: Session, slices: Iterable[LabelledSlice], seen: "_Seen") -> dict[str, Any]:
    """Slices by case, all of them, and the mean over the cases that were held out of training."""
    scored = score_pictures(slices, _predict(session), session.manifest.output)
    cases: dict[str, list[ScoredSlice]] = {}
    for one in scored:
        cases.setdefault(datasets.case_of(one.name), []).append(one)
    summaries = {name: summarise(part) for name, part in sorted(cases.items())}
    held_out = {name: summary for name, summary in summaries.items() if not seen.is_seen(name)}
    return {
        "cases": {
            name: {"in_training": name not in held_out, **asdict(summary)}
            for name, summary in summaries.items()
        },
        "all slices": asdict(summarise(scored)),
        "mean over held-out cases": {
            "cases": list(held_out),
            "slices": sum(one.slices for one in held_out.values()),
            **_mean_of(list(held_out.values())),
        }
        if held_out
        else None,
    }


def _mean_of(summaries: list[Summary]) -> dict[str, Any]:
    """Mean and standard error over cases; each counts the same, however many slices it has."""
    return {
        protocol: {
            measure: asdict(Mean.of(getattr(one, protocol)[measure].value for one in summaries))
            for measure in getattr(summaries[0], protocol)
        }
        for protocol in ("paper", "clinical")
    }


def measure_healthy(session: Session, data: Path, overlays: Path | None) -> dict[str, Any]:
    """False positives in a scan without COVID-19."""
    result = Segmenter(session).predict(datasets.healthy_series(data))
    if overlays:
        write_overlay(overlays / f"{datasets.HEALTHY.name}.png", result, None)
    return {"series": datasets.HEALTHY.name, **healthy_row(result)}


def _predict(session: Session) -> Predict:
    spec, temperature = session.manifest.preprocess, session.manifest.output.temperature

    def run(batch: FloatArray) -> FloatArray:
        return infection_probability(session, batch)

    return lambda _, grey: predict_slice(grey, spec, run, temperature=temperature)


class _Seen:
    """Which volumes and cases were in training, by what the command line says."""

    def __init__(self, known: Iterable[str], *, trained_on: list[str], held_out_cases: list[str]) -> None:
        names = set(known)
        cases = {name for name in names if name.startswith("coronacases")}
        for name in trained_on:
            if not any(_stands_for(name, one) for one in names):
                sys.exit(f"--trained-on {name} stands for none of {', '.join(sorted(names))}")
        seen = {one for one in names if any(_stands_for(name, one) for name in trained_on)}
        held_out = {f"coronacases_{name}" for name in held_out_cases}
        if unknown := held_out - cases:
            sys.exit(f"{', '.join(sorted(unknown))} held out, but the cases are {', '.join(sorted(cases))}")
        if both := held_out & seen:
            sys.exit(f"{', '.join(sorted(both))} both held out and trained on; one of the two is wrong")
        self._names = seen | (cases - held_out if held_out else set())

    def is_seen(self, name: str) -> bool:
        """Whether pictures of a volume or case were in training."""
        return name in self._names


def _stands_for(part: str, name: str) -> bool:
    return part.replace("org_", "") in name


def _missing(data: Path, prepared: Path | None) -> dict[str, str]:
    """Sections that cannot be measured, with the reason."""
    folders = {
        "test slices": datasets.TEST_SLICES,
        "volumes": datasets.VOLUMES,
        "enhanced": datasets.ENHANCED,
        "healthy": datasets.HEALTHY,
    }
    missing = {
        name: f"no {folder} in the data folder"
        for name, folder in folders.items()
        if not (data / folder).is_dir()
    }
    if "healthy" not in missing and find_spec("pydicom") is None:
        missing["healthy"] = "needs pydicom: pip install 'infnet[dicom]'"
    if prepared is None:
        missing["transferred"] = "needs --prepared, a folder that 'infnet-train data prepare' wrote"
    elif not (prepared / datasets.TRANSFERRED / "Imgs").is_dir():
        missing["transferred"] = f"no {datasets.TRANSFERRED / 'Imgs'} in {prepared}"
    return missing


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="the shipped model where absent")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="INFNET_DATA, else ../shared/data beside the checkout"
    )
    parser.add_argument("--prepared", type=Path, help="folder that 'infnet-train data prepare' wrote")
    parser.add_argument(
        "--trained-on",
        metavar="NAME",
        action="append",
        default=[],
        help="volume or case whose pictures were in training, or a part of its name; repeatable",
    )
    parser.add_argument(
        "--held-out-cases",
        metavar="CASE",
        nargs="+",
        default=[],
        help="coronacases that were held out, such as 002; the others count as trained on",
    )
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--metrics", type=Path, help="write the numbers for infnet-export --metrics here")
    parser.add_argument("--overlays", type=Path, help="write contact sheets of the scans into this folder")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="some of the sections")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--backend", default="onnxruntime", help="the reference if absent")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
