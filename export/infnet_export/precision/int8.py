"""Which parts of a model suffer from 8 bits, by measurement, and a model that leaves those in float.

Everything is quantised first. Then each part is put back to float alone: what that gives, on slices the
ranges were not taken from, is what its quantisation costs. Parts go back to float, one after another, until
the rest costs little enough: first those that cost most for what they compute, so that a decoder of one
percent of the multiplications comes before a stage of twenty.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from infnet_export.graph.raw_session import raw_session
from infnet_export.precision.quantised import (
    DEFAULT_OPTIONS,
    Int8Options,
    Ranged,
    measure_ranges,
    quantise,
    quantised_unchecked,
)
from infnet_runtime.arrays import DoubleArray, FloatArray
from infnet_runtime.errors import GateError, InputError

Progress = Callable[[int, int], None]

LARGEST_LOSS = 2e-3
"""Mean distance in probability at which the search for float parts ends. At 2.4e-3 the shipped model moved
the Dice of single slices by 0.0045 on average, at 1.8e-3 by 0.002 at most; the gate lets 0.003 pass."""
LARGEST_SHIFT = 5e-3
"""Share by which the area above one half may move as well. At 0.009 a scan moved by 1.2 % of its millilitres,
which the gate refuses from 1 % on."""
_LEAST_SHARE = 5e-3
"""Of the multiplications, for the order of the parts: what computes less costs no time anyway."""


@dataclass(frozen=True)
class PartCost:
    """What the quantisation of one part costs.

    Parameters
    ----------
    part
        A module, ``logits`` for maps like the outputs and what becomes of them, or ``no module``.
    share
        Of all multiplications of the model.
    loss
        Mean distance in probability from the FP32 model with this part alone in float.
    cost
        Loss with everything quantised, less that.
    """

    part: str
    share: float
    loss: float
    cost: float


@dataclass(frozen=True)
class Int8Report:
    """What was quantised and what it costs.

    Parameters
    ----------
    calibration_slices, held_out_slices
        Numbers of slices.
    loss_all
        Mean distance in probability from the FP32 model on the held-out slices with everything quantised.
    costs
        Of every part, the costliest first.
    float_parts
        Parts left in float, in the order they were chosen.
    steps
        Loss after each of them.
    loss
        Of the model that was made.
    shift
        Share by which the area above one half moves in it, of the output in which it moves most.
    """

    options: Int8Options
    calibration_slices: int
    held_out_slices: int
    loss_all: float
    costs: tuple[PartCost, ...]
    float_parts: tuple[str, ...]
    steps: tuple[float, ...]
    loss: float
    shift: float

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)

    def to_table(self) -> str:
        """The costs as a table in Markdown."""
        kept = {c.part: "float" if c.part in self.float_parts else "8 bit" for c in self.costs}
        rows = [f"| {c.part} | {c.share:.1%} | {c.cost:+.1e} | {kept[c.part]} |" for c in self.costs]
        return "\n".join(["| part | multiplications | cost | kept in |", "| --- | --- | --- | --- |", *rows])


def to_int8(
    model: onnx.ModelProto,
    calibration: FloatArray,
    held_out: FloatArray,
    options: Int8Options = DEFAULT_OPTIONS,
    *,
    largest_loss: float = LARGEST_LOSS,
    largest_shift: float = LARGEST_SHIFT,
    threads: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[onnx.ModelProto, Int8Report]:
    """Quantise a model, with the costliest parts in float.

    Parameters
    ----------
    model
        In FP32, weights stored as FP16 included; stays as it is.
    calibration, held_out : (n, 3, size, size)
        Network input of training slices: those the ranges are taken from, and others to measure the loss on.
        Never slices the model is tested on.
    largest_loss
        Mean distance in probability from the FP32 model on ``held_out`` at which no more parts go to float,
    largest_shift
        where the area above one half moves by no more than this share of it, either way.
    progress
        Called with models measured and to measure at most.

    Raises
    ------
    InputError
        If there are too few slices, or one of them is in both arrays.
    ModelError
        If the model has inner graphs or tensors of unknown type.
    """
    _refuse_shared(calibration, held_out)
    ranged = measure_ranges(model, calibration, options)
    measure = _LossMeter(ranged, held_out, threads)
    parts = sorted(set(ranged.part_of.values()))
    total, done = 2 * len(parts) + 1, iter(range(1, 2 * len(parts) + 2))
    whole = measure(())
    progress(next(done), total)
    alone: dict[str, Loss] = {}
    for part in parts:
        alone[part] = measure((part,))
        progress(next(done), total)
    costs = [
        PartCost(part, ranged.share.get(part, 0.0), loss.distance, whole.distance - loss.distance)
        for part, loss in alone.items()
    ]
    costs.sort(key=lambda cost: -cost.cost)
    kept: list[str] = []
    steps: list[float] = []
    loss = whole
    for cost in sorted(costs, key=lambda cost: -cost.cost / max(cost.share, _LEAST_SHARE)):
        if (loss.distance <= largest_loss and loss.shift <= largest_shift) or cost.cost <= 0:
            break
        kept.append(cost.part)
        loss = alone[cost.part] if len(kept) == 1 else measure(tuple(kept))
        steps.append(loss.distance)
        progress(next(done), total)
    report = Int8Report(
        options,
        len(calibration),
        len(held_out),
        whole.distance,
        tuple(costs),
        tuple(kept),
        tuple(steps),
        loss.distance,
        loss.shift,
    )
    return quantise(ranged, tuple(kept)), report


@dataclass(frozen=True)
class Loss:
    """How far a quantised model is from the one in FP32; of several outputs, that which suffers most.

    Parameters
    ----------
    distance
        Mean distance in probability.
    shift
        Share by which the area with a probability of one half or more moves.
    """

    distance: float
    shift: float


class _LossMeter:
    """The loss of a model that is quantised in parts."""

    def __init__(self, ranged: Ranged, slices: FloatArray, threads: int) -> None:
        if len(slices) == 0:
            raise InputError("no held-out slices to measure the loss of the quantisation on", code=3121)
        self._ranged, self._slices, self._threads = ranged, slices, threads
        self._reference = self._run(ranged.model)

    def __call__(self, float_parts: tuple[str, ...]) -> Loss:
        found = self._run(quantised_unchecked(self._ranged, float_parts))
        pairs = list(zip(found, self._reference, strict=True))
        distance = float(np.max([np.abs(one - other).mean() for one, other in pairs]))  # NaN wins
        if not math.isfinite(distance):
            raise GateError(
                "the model or its quantised form returned values that are not finite; its weights are "
                "damaged or too large, train again or take an earlier checkpoint",
                code=7002,
            )
        return Loss(distance, max(_shift(one, other) for one, other in pairs))

    def _run(self, model: onnx.ModelProto) -> list[DoubleArray]:
        session = raw_session(model, threads=self._threads)
        (source,) = (i.name for i in session.get_inputs())
        rows = [session.run(None, {source: one[None]}) for one in self._slices]
        return [np.concatenate(column).astype(np.float64) for column in zip(*rows, strict=True)]


def _shift(found: DoubleArray, reference: DoubleArray) -> float:
    """Share by which the area above one half moves; 0 where the reference has none."""
    one, other = (int(np.count_nonzero(array >= 0.5)) for array in (found, reference))
    return abs(one - other) / other if other else 0.0


def _refuse_shared(calibration: FloatArray, held_out: FloatArray) -> None:
    seen = {one.tobytes() for one in calibration}
    shared = sum(one.tobytes() in seen for one in held_out)
    if shared:
        raise InputError(
            f"{shared} of {len(held_out)} held-out slices are calibration slices too; the loss on them would "
            "be too small, hold other slices out",
            code=3122,
        )
