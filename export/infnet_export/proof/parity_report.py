"""The parity report: every form of a model that runs here, against one reference, on the same slices.

Each form runs the slices one by one, in batches of the sizes it was made for, and with a short batch at the
end. A form passes if it is within its tolerance in every one of these runs.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray, FloatArray
from infnet_runtime.errors import GateError
from infnet_runtime.metrics.parity import (
    Parity,
    Probability,
    Tolerance,
    compare,
    compare_classes,
    worst_of,
)

Probabilities = Mapping[str, Probability]
"""Output to (n, channels, size, size)."""
Run = Callable[[FloatArray], Probabilities]

_PANEL = 352  # pixels, side of a panel of the picture
_CAPTION = 26
_DIFFERENCE_GAIN = 20
_REFERENCE_FORM = ".onnx, ONNX Runtime CPU"


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
    kind
        Kind of file that is not to be written if the form fails.
    classes
        Tolerance of what tells classes of the infection apart, where it is another.
    """

    name: str
    run: Run
    tolerance: Tolerance | None
    reason: str
    kind: str = "onnx"
    classes: Tolerance | None = None


@dataclass(frozen=True)
class FormResult:
    """How one form did.

    Parameters
    ----------
    name
        Of the form, and of the output where it is not the infection.
    runs
        Batch size to distances from the reference.
    worst
        The largest of each distance over the runs.
    kind
        As of :class:`Form`.
    farthest
        Name of the slice with the largest distance.
    ms_per_slice : ms
        Of the fastest batch, while nothing else of the comparison ran.
    """

    name: str
    runs: dict[int, Parity]
    worst: Parity
    tolerance: Tolerance | None
    reason: str
    kind: str = "onnx"
    farthest: str = ""
    ms_per_slice: float | None = None

    @property
    def passed(self) -> bool | None:
        """None where another gate decides."""
        return None if self.tolerance is None else self.tolerance.allows(self.worst)

    @property
    def fault(self) -> str:
        """What is beyond the limits, and where it is worst; empty where nothing is."""
        faults = self.tolerance.faults(self.worst) if self.tolerance else []
        where = f", farthest in {self.farthest}" if self.farthest else ""
        return f"{self.name} differs in {', '.join(faults)}{where}" if faults else ""


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

    @property
    def verified(self) -> tuple[str, ...]:
        """The forms, each with what ran it, that passed here; of all others nothing is known."""
        return tuple(form.name for form in self.forms if form.passed)

    def to_json(self) -> str:
        """Everything but the picture."""
        plain: dict[str, Any] = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("forms", "picture")
        }
        plain["forms"] = [_finite(dataclasses.asdict(form)) | {"passed": form.passed} for form in self.forms]
        plain["verified"] = self.verified
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
            "| form | batches | largest distance | in | mean distance | masks differ in | Dice between "
            "| volume differs by | allowed (largest, mean; masks) | ms a slice | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for form in self.forms:
            worst = form.worst
            allowed = f"{_limits(form.tolerance)}: {form.reason}" if form.tolerance else form.reason
            verdict = {True: "passed", False: "**failed**", None: "own gate"}[form.passed]
            lines.append(
                f"| {form.name} | {', '.join(map(str, form.runs))} | {worst.largest_distance:.1e} "
                f"| {form.farthest} | {worst.mean_distance:.1e} | {worst.differing_pixels} pixels "
                f"| {worst.mask_dice:.5f} | {worst.volume_change:.3%} | {allowed} | {self._time(form)} "
                f"| {verdict} |"
            )
        lines += [
            "",
            "ms a slice: the fastest batch of each, one form after the other; `infnet-infer bench` measures "
            "from file to mask, in turn.",
        ]
        lines += [
            "",
            f"Verified here: {'; '.join(self.verified) or 'nothing'}. On another backend or device: "
            "`infnet-infer verify FILE --against FILE`.",
        ]
        if self.not_run:
            lines += ["", "Not run here:", ""]
            lines += [f"- {name}: {why}" for name, why in self.not_run.items()]
        return "\n".join(lines) + "\n"

    def failures(self) -> dict[str, GateError]:
        """Kind of file to why it is refused, for every kind of which a form is too far from the reference."""
        faults: dict[str, list[str]] = {}
        for form in self.forms:
            if form.fault:
                faults.setdefault(form.kind, []).append(form.fault)
        return {
            kind: GateError(f"too far from {self.reference}: {'; '.join(told)}", code=7003)
            for kind, told in faults.items()
        }

    def _time(self, form: FormResult) -> str:
        if form.ms_per_slice is None:
            return "-"
        first = next((f.ms_per_slice for f in self.forms if f.name.endswith(_REFERENCE_FORM)), None)
        ratio = (
            f" ({first / form.ms_per_slice:.2f} times as fast)"
            if first and first != form.ms_per_slice
            else ""
        )
        return f"{form.ms_per_slice:.0f}{ratio}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """The same with None for what is no number, which JSON does not have."""
    return {
        key: _finite(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and not math.isfinite(value) else value)
        for key, value in values.items()
    }


def _limits(tolerance: Tolerance) -> str:
    limits = f"{tolerance.largest:g}, {tolerance.mean:g}"
    if tolerance.mask_dice > 0:
        limits += (
            f"; Dice {tolerance.mask_dice:g} and volume {tolerance.volume:.1%}, or {tolerance.few_pixels:g} "
            "pixels a slice"
        )
    return limits


def measure_forms(
    forms: list[Form],
    reference: Probabilities,
    slices: FloatArray,
    thresholds: Mapping[str, Sequence[float]],
    batch_sizes: tuple[int, ...],
    *,
    infected: BoolArray | None = None,
    names: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[FormResult, ...], ByteArray]:
    """Run all forms; also draw the slice with the largest distance of any.

    Each form has a result for every output.

    Parameters
    ----------
    reference
        Output to (n, channels, size, size).
    slices : (n, channels, size, size)
    thresholds
        Of each output, on the network's own probability; none of one that tells classes of the infection
        apart.
    batch_sizes
        Smallest, usual and largest batch; each is followed by a short one where the slices do not fill it.
    infected : (n, size, size)
        By the reference; what classes are compared in. Needed where there are such.
    names
        Of the slices; numbers where absent.
    say
        Told which form is run next.

    Raises
    ------
    GateError
        If there are no slices, or a form returns another shape.
    """
    if len(slices) == 0:
        raise GateError("no slices to compare the exported model on; give some with --verify", code=7004)
    results = []
    farthest, drawn = -1.0, np.zeros((_PANEL + _CAPTION, 4 * _PANEL, 3), np.uint8)
    for place, form in enumerate(forms, 1):
        say(f"comparing {form.name} ({place} of {len(forms)}) on {len(slices)} slices")
        runs: dict[str, dict[int, Parity]] = {name: {} for name in reference}
        fastest = math.inf
        for size in sorted(set(batch_sizes)):
            parts = []
            for part in _parts(len(slices), size):
                started = time.perf_counter()
                parts.append(form.run(slices[part]))
                fastest = min(fastest, (time.perf_counter() - started) / len(slices[part]))
            for name, expected in reference.items():
                found = np.concatenate([part[name] for part in parts])
                parity = _compared(found, expected, thresholds[name], infected)
                runs[name][size] = parity
                if not parity.largest_distance <= farthest:  # so that one that is no number is drawn
                    farthest = parity.largest_distance
                    drawn = _draw(form.name, found, expected, slices)
        for place_of_output, (name, by_size) in enumerate(runs.items()):
            worst = worst_of(by_size.values())
            k = worst.farthest_slice
            first = place_of_output == 0
            results.append(
                FormResult(
                    name=form.name if first else f"{form.name}: {name}",
                    runs=by_size,
                    worst=worst,
                    tolerance=form.tolerance if thresholds[name] else form.classes or form.tolerance,
                    reason=form.reason,
                    kind=form.kind,
                    farthest=names[k] if names else f"slice {k + 1}",
                    ms_per_slice=max(round(1000 * fastest, 2), 0.01) if first else None,  # it divides
                )
            )
    return tuple(results), drawn


def _compared(
    found: Probability, expected: Probability, thresholds: Sequence[float], infected: BoolArray | None
) -> Parity:
    if thresholds or infected is None:
        return compare(found, expected, thresholds)
    return compare_classes(found, expected, infected)


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
        pixels = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
        panel = cv2.cvtColor(cv2.resize(pixels, (_PANEL, _PANEL)), cv2.COLOR_GRAY2BGR)
        strip = np.zeros((_CAPTION, _PANEL, 3), np.uint8)
        cv2.putText(
            strip, title[:52], (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
        )
        columns.append(np.vstack([strip, panel]))
    return np.asarray(np.hstack(columns), np.uint8)
