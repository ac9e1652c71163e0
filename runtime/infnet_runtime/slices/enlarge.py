"""From coarse logits to probabilities, and to masks without enlarging what cannot be infected.

Which logits a file gives, and by how much they are enlarged, says
:class:`~infnet_runtime.model.coarse_logits.CoarseSpec`. The enlarging is that of
:func:`~infnet_runtime.slices.preprocess.resize`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from infnet_runtime.arrays import BoolArray, FloatArray
from infnet_runtime.slices.preprocess import (
    Band,
    bands,
    least_reaching,
    needed_temperature,
    resize,
    resize_bands,
)
from infnet_runtime.slices.temperature import with_temperature

# The enlarging can round above the largest logit by a few 1e-7 of the largest magnitude.
_ROUNDING, _RELATIVE_ROUNDING = 1e-3, 1e-6


def enlarged(logits: FloatArray, factor: int) -> FloatArray:
    """Probabilities on the network's grid.

    Parameters
    ----------
    logits : (n, h, w)
        Finite.

    Returns
    -------
    (n, factor * h, factor * w)
    """
    _, h, w = logits.shape
    large = resize(logits, factor * h, factor * w)
    sigmoid_in_place(large)
    return large


def infected_from_logits(
    logits: FloatArray, factor: int, rows: int, columns: int, *, threshold: float, temperature: float = 1.0
) -> BoolArray:
    """Where the probability on the scan's grid reaches a threshold, without computing all of it.

    Both resizes average, so a pixel reaches the threshold only where a logit near it does. Nothing else is
    enlarged but what these pixels are made of.

    Parameters
    ----------
    logits : (n, h, w)
        Finite.
    rows, columns
        Of the scan's grid.
    threshold, temperature
        Of the model.

    Returns
    -------
    (n, rows, columns)
        Bit for bit ``from_network(enlarged(logits, factor), rows, columns, ...) >= threshold``.
    """
    n, h, w = logits.shape
    temperature = needed_temperature(threshold, temperature)
    infected = np.zeros((n, rows, columns), np.bool_)
    least = _least_logit(threshold, temperature, float(np.abs(logits).max(initial=0)))
    reaching = logits.max(axis=(1, 2)) >= least
    if not reaching.any():
        return infected
    large_h, large_w = factor * h, factor * w
    ups = bands(h, large_h, w), bands(w, large_w, large_h)
    backs = bands(large_h, rows, large_w), bands(large_w, columns, rows)
    # Zeros, since products run over what is not filled in.
    half, large = np.zeros((large_h, w), np.float32), np.zeros((large_h, large_w), np.float32)
    half_back, back = np.zeros((rows, large_w), np.float32), np.zeros((rows, columns), np.float32)
    for k in np.flatnonzero(reaching):
        hits = logits[k] >= least
        along_rows, along_columns = (
            _reach(up, back_, hits.any(axis=1 - axis))
            for axis, (up, back_) in enumerate(zip(ups, backs, strict=True))
        )
        resize_bands(logits[k], half, large, along_rows.up, along_columns.up)
        sigmoid_in_place(large[along_rows.needed, along_columns.needed])
        resize_bands(large, half_back, back, along_rows.back, along_columns.back)
        part = along_rows.reached, along_columns.reached
        np.greater_equal(with_temperature(back[part], temperature), threshold, out=infected[k][part])
    return infected


def sigmoid_in_place(logits: FloatArray) -> None:
    """Logits of any shape -> probabilities, in single precision."""
    with np.errstate(over="ignore"):  # of what is near 0: its exponential is infinite, the result 0
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        logits += 1
        np.reciprocal(logits, out=logits)


@dataclass(frozen=True)
class _Reach:
    """What there is to do along one axis.

    Parameters
    ----------
    up
        Bands of the enlarging.
    needed
        Pixels of the network's grid that they give and the way back reads.
    back
        Bands of the way back to the scan.
    reached
        Pixels of the scan that they give.
    """

    up: Sequence[Band]
    needed: slice
    back: Sequence[Band]
    reached: slice


def _reach(up: Sequence[Band], back: Sequence[Band], hits: BoolArray) -> _Reach:
    """What depends on the places along an axis at which a logit reaches the threshold."""
    places = np.flatnonzero(hits)
    hit = slice(int(places[0]), int(places[-1]) + 1)
    large = _span(target for target, source, _ in up if _meet(source, hit))
    on_the_way_back = [band for band in back if _meet(band[1], large)]
    needed = _span(source for _, source, _ in on_the_way_back)
    return _Reach(
        up=[band for band in up if _meet(band[0], needed)],
        needed=needed,
        back=on_the_way_back,
        reached=_span(target for target, _, _ in on_the_way_back),
    )


def _meet(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)


def _span(slices: Iterable[slice]) -> slice:
    found = list(slices)
    return slice(min(s.start for s in found), max(s.stop for s in found))


def _least_logit(threshold: float, temperature: float, largest: float) -> float:
    """The logit below which no pixel reaches a threshold on any grid, whatever rounds.

    Parameters
    ----------
    largest
        Magnitude of a logit.
    """
    least = least_reaching(threshold, temperature)
    if not least:
        return -math.inf
    return math.log(least) - math.log1p(-least) - _ROUNDING - _RELATIVE_ROUNDING * largest
