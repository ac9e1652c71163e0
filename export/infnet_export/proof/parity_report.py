"""The parity report: every form of a model that runs here, against one reference, on the same slices.

Each form runs the slices one by one, in batches of the sizes it was made for, and with a short batch at the
end. A form passes if it is within its tolerance in every one of these runs.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from infnet_export.proof.parity import Parity, Probability, Tolerance, compare, refuse_non_finite, worst_of
from infnet_runtime.arrays import ByteArray, FloatArray
from infnet_runtime.errors import GateError

Probabilities = Mapping[str, Probability]
"""Output to (n, channels, size, size)."""
Run = Callable[[FloatArray], Probabilities]

_PANEL = 352  # pixels, side of a panel of the picture
_CAPTION = 26
_DIFFERENCE_GAIN = 20


@dataclass(frozen=True)
class Form:
    """One form of the model.

    Parameters
    ----------
    name
        File and what runs it.
    run
        (n, channels, size, size) -> every output.
    tolerance
        None where the form is judged by another gate.
    reason
        Why this tolerance, in a few words.
    """

    name: str
    run: Run
    tolerance: Tolerance | None
    reason: str


@dataclass(frozen=True)
class FormResult:
    """How one form did.

    Parameters
    ----------
    runs
        Batch size to distances from the reference, the largest over the outputs.
    worst
        The largest of each distance over the runs.
    """

    name: str
    runs: dict[int, Parity]
    worst: Parity
    tolerance: Tolerance | None
    reason: str

    @property
    def passed(self) -> bool | None:
        """None where another gate decides."""
        return None if self.tolerance is None else self.tolerance.allows(self.worst)


@dataclass(frozen=True, eq=False)
class ParityReport:
    """All forms, and the slice on which one of them is farthest from the reference.

    Parameters
    ----------
    reference
        What all are compared with.
    slices
        Where they come from, and how many.
    versions
        Package to version.
    picture : (rows, columns, 3)
        Slice, reference, form and twentyfold difference.
    """

    model: str
    reference: str
    slices: str
    threshold: float
    versions: dict[str, str]
    forms: tuple[FormResult, ...]
    not_run: dict[str, str]
    picture: ByteArray

    def to_json(self) -> str:
        """Everything but the picture."""
        plain: dict[str, Any] = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("forms", "picture")
        }
        plain["forms"] = [dataclasses.asdict(form) | {"passed": form.passed} for form in self.forms]
        return json.dumps({"schema": "infnet.parity/1", **plain}, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The table of the report."""
        lines = [
            f"# Parity of {self.model}",
            "",
            f"Reference: {self.reference}. Slices: {self.slices}. Probabilities are compared at every pixel,",
            f"masks at {self.threshold:g}; each row is the worst of the batch sizes run. Versions: "
            + ", ".join(f"{name} {version}" for name, version in self.versions.items())
            + ".",
            "",
            "| form | batches | largest distance | mean distance | masks differ in | Dice between "
            "| volume differs by | allowed (largest, mean; masks) | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for form in self.forms:
            worst = form.worst
            allowed = f"{_limits(form.tolerance)}: {form.reason}" if form.tolerance else form.reason
            verdict = {True: "passed", False: "**failed**", None: "own gate"}[form.passed]
            lines.append(
                f"| {form.name} | {', '.join(map(str, form.runs))} | {worst.largest_distance:.1e} "
                f"| {worst.mean_distance:.1e} | {worst.mask_disagreement:.1e} | {worst.mask_dice:.5f} "
                f"| {worst.volume_change:.3%} | {allowed} | {verdict} |"
            )
        if self.not_run:
            lines += ["", "Not run here:", ""]
            lines += [f"- {name}: {why}" for name, why in self.not_run.items()]
        return "\n".join(lines) + "\n"

    def check(self) -> None:
        """Refuse if a form is too far from the reference.

        Raises
        ------
        GateError
            Naming every form that failed.
        """
        failed = [form for form in self.forms if form.passed is False]
        if failed:
            told = "; ".join(
                f"{form.name} by up to {worst.largest_distance:.2g} (mean {worst.mean_distance:.2g}, Dice "
                f"between the masks {worst.mask_dice:.4f}, volume {worst.volume_change:.2%})"
                for form, worst in ((form, form.worst) for form in failed)
            )
            raise GateError(
                f"too far from {self.reference}: {told}; no model was written. Export with --weights fp32 or "
                "without the form that failed",
                code=7003,
            )


def _limits(tolerance: Tolerance) -> str:
    limits = f"{tolerance.largest:g}, {tolerance.mean:g}"
    if tolerance.mask_dice > 0:
        limits += f", Dice {tolerance.mask_dice:g}, volume {tolerance.volume:.1%}"
    return limits


def measure_forms(
    forms: list[Form],
    reference: Probabilities,
    slices: FloatArray,
    thresholds: Mapping[str, Sequence[float]],
    batch_sizes: tuple[int, ...],
) -> tuple[tuple[FormResult, ...], ByteArray]:
    """Run all forms; also draw the slice with the largest distance of any.

    Parameters
    ----------
    reference
        Output to (n, channels, size, size).
    slices : (n, channels, size, size)
    thresholds
        Of each output, on the network's own probability.
    batch_sizes
        Smallest, usual and largest batch; each is followed by a short one where the slices do not fill it.

    Raises
    ------
    GateError
        If there are no slices, or a form returns another shape or what is not finite.
    """
    if len(slices) == 0:
        raise GateError("no slices to compare the exported model on; give some with --verify", code=7004)
    results = []
    farthest, drawn = -1.0, np.zeros((_PANEL + _CAPTION, 4 * _PANEL, 3), np.uint8)
    for form in forms:
        runs = {}
        for size in sorted(set(batch_sizes)):
            parts = [form.run(slices[part]) for part in _parts(len(slices), size)]
            parities = {}
            for name, expected in reference.items():
                found = np.concatenate([part[name] for part in parts])
                refuse_non_finite(found, form.name)
                parities[name] = compare(found, expected, thresholds[name])
                if parities[name].largest_distance > farthest:
                    farthest = parities[name].largest_distance
                    drawn = _draw(form.name, found, expected, slices)
            runs[size] = worst_of(parities.values())
        results.append(FormResult(form.name, runs, worst_of(runs.values()), form.tolerance, form.reason))
    return tuple(results), drawn


def _parts(count: int, size: int) -> Iterator[slice]:
    """Batches of a size with a short one at the end; one slice alone first where all would be full."""
    start = 0
    if size > 1 and count % size == 0 and count > size:
        yield slice(0, 1)
        start = 1
    for first in range(start, count, size):
        yield slice(first, min(first + size, count))


def _draw(
    name: str,
    found: Probability,
    reference: Probability,
    slices: FloatArray,
) -> ByteArray:
    distances = np.abs(found.astype(np.float64) - reference)
    channel = int(distances.max((0, 2, 3)).argmax())
    distance = distances[:, channel]
    k = int(distance.max((1, 2)).argmax())
    plane = slices[k, 0]
    grey = (plane - plane.min()) / max(float(np.ptp(plane)), 1e-6)
    panels = {
        f"slice {k}": grey,
        "reference": reference[k, channel],
        name: found[k, channel],
        f"distance x {_DIFFERENCE_GAIN}, largest {distance[k].max():.1e}": distance[k] * _DIFFERENCE_GAIN,
    }
    columns = []
    for title, values in panels.items():
        pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        panel = cv2.cvtColor(cv2.resize(pixels, (_PANEL, _PANEL)), cv2.COLOR_GRAY2BGR)
        strip = np.zeros((_CAPTION, _PANEL, 3), np.uint8)
        cv2.putText(
            strip, title[:52], (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
        )
        columns.append(np.vstack([strip, panel]))
    return np.asarray(np.hstack(columns), np.uint8)
