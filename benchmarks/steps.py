"""What each step of a training brought: several weights or ONNX files side by side.

    python benchmarks/steps.py NAME=runs/a/weights.safetensors NAME=runs/b NAME=model.onnx [--data DIR]

Every file is scored with the code of ``infnet-train eval`` on the 48 test slices and on the ten validation
slices (49 to 58 of the labelled ones, which only the last stage of the shipped model is trained on), by both
protocols. The gain is in clinical Dice over the row above, on the same slices one by one, so its standard
error is that of the difference. Choose steps by the validation slices; the test slices are for the report.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measures import Mean, ScoredSlice, score_pictures, summarise
from tables import PAPER, mean_cell, number_cell, table

from infnet_runtime.metrics import LabelledSlice
from infnet_train.assess.predict import open_model
from infnet_train.data.masks import read_labelled

DATA = Path(os.environ.get("INFNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
TEST = Path("covid-semiseg/TestingSet/LungInfection-Test")
LABELLED = Path("covid-semiseg/TrainingSet/LungInfection-Train/Doctor-label")
VALIDATION = [str(number) for number in range(49, 59)]


def main() -> None:
    options = _options()
    sets = {
        "test": list(read_labelled(options.data / TEST, "transpose")),
        "validation": [
            one for one in read_labelled(options.data / LABELLED, "transpose") if one[0] in VALIDATION
        ],
    }
    rows: list[dict[str, Any]] = []
    above: dict[str, list[ScoredSlice]] = {}
    for name, path in options.steps:
        row: dict[str, Any] = {"step": name, "file": path.name}
        scored, row["sha256"] = score(path, sets, options.device)
        for part, slices in scored.items():
            row[part] = {
                **asdict(summarise(slices)),
                "gain": asdict(gain(above[part], slices)) if above else None,
            }
        above = scored
        rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", "utf-8")
    print(to_markdown(rows))


def score(
    path: Path, sets: dict[str, list[LabelledSlice]], device: str
) -> tuple[dict[str, list[ScoredSlice]], str]:
    """Scored slices of each set, and the hash of the file."""
    with open_model(path, device, purpose="evaluate") as model:
        scored = {
            name: score_pictures(slices, lambda _, grey: model.predict(grey), model.output)
            for name, slices in sets.items()
        }
        return scored, model.sha256


def gain(before: list[ScoredSlice], after: list[ScoredSlice]) -> Mean:
    """Difference in clinical Dice, slice by slice; both empty counts as 1."""
    pairs = zip(before, after, strict=True)
    return Mean.of(_dice(new) - _dice(old) for old, new in pairs)


def _dice(one: ScoredSlice) -> float:
    value = one.counts.dice
    return 1.0 if value is None else value


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """One table, the published measures first."""
    first = rows[0]
    columns = ["step", *(f"test, paper: {PAPER[m]}" for m in PAPER)]
    columns += [
        "test, clinical: Dice",
        "gain",
        "validation, paper: Dice",
        "validation, clinical: Dice",
        "gain",
    ]
    lines = []
    for row in rows:
        test, validation = row["test"], row["validation"]
        lines.append(
            [
                row["step"],
                *(number_cell(test["paper"][m]["value"]) for m in PAPER),
                mean_cell(test["clinical"]["dice"]),
                _gain(test["gain"]),
                number_cell(validation["paper"]["mean_dice"]["value"]),
                mean_cell(validation["clinical"]["dice"]),
                _gain(validation["gain"]),
            ]
        )
    return (
        f"{first['test']['slices']} test slices and {first['validation']['slices']} validation slices. "
        "Paper: maps stretched in each image, mean over 256 thresholds. Clinical: one threshold, no "
        "stretching; ± is the standard error over slices, of the gain that of the paired difference "
        "to the row above.\n\n" + table(columns, lines)
    )


def _gain(mean: dict[str, Any] | None) -> str:
    if mean is None:
        return ""
    sign = "+" if mean["value"] >= 0 else ""
    return sign + mean_cell(mean)


def _step(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE")
    return name, Path(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", type=_step, nargs="+", metavar="NAME=FILE", help="in the order of the rows")
    parser.add_argument(
        "--data", type=Path, default=DATA, help="INFNET_DATA, else ../shared/data beside the checkout"
    )
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    return parser.parse_args()


if __name__ == "__main__":
    main()
