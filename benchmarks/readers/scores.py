"""What is measured of each case and over all of them, as plain values for JSON.

Readers are ``infnet``, ``first`` and ``second``. The lung of a reader is what the source labelled as lung and
all that the reader marked, since that mask is cut short at some consolidations; infnet's is the one that it
found. A share is of the lung in the slices it is measured on.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from infnet_runtime.arrays import AnyArray, BoolArray
from infnet_runtime.measure.definitions import HIGH_OPACITY_ABOVE_HU
from readers.agreement import (
    Limits,
    Values,
    bland_altman,
    bootstrap,
    dice,
    icc_a1,
    lesions_found,
    lins_ccc,
    ratio_limits,
)
from readers.cases import MANUAL, Case, Marked

Row = dict[str, Any]

READERS = ("infnet", "first", "second")
MEASURES = ("ml", "percent", "mean", "high_percent")
PAIRS = (
    ("infnet", "both readers"),
    ("infnet", "first"),
    ("infnet", "second"),
    ("second", "first"),
)

MEASURABLE_ML = 1.0
"""Cases with less by the readers are left out of Dice, ratios and relative distances: pixels decide there."""

WINDOW_HU = (-1050.0, 250.0)
"""Of the model's contract. The pictures' own window is not known, so HU made from their grey are nominal."""


def to_grey(hu: float) -> float:
    """Nominal grey, 0 to 255, of a value in HU.

    Examples
    --------
    >>> to_grey(-1050), to_grey(250)
    (0.0, 255.0)
    """
    low, high = WINDOW_HU
    return 255 * (hu - low) / (high - low)


def quantify_mask(
    infection: BoolArray, lungs: BoolArray, values: AnyArray, voxel_ml: float, *, high: float
) -> Row:
    """One reader's numbers of one scan, or of some of its slices.

    Parameters
    ----------
    infection, lungs, values : (slices, rows, columns)
        Infection is counted inside the lungs alone; values are HU, or grey.
    high
        Values above are high opacity.
    """
    inside = infection & lungs
    marked, lung = int(inside.sum()), int(lungs.sum())
    marked_values = values[inside]
    return {
        "ml": marked * voxel_ml,
        "lung_ml": lung * voxel_ml,
        "percent": 100 * marked / lung if lung else None,
        "mean": float(marked_values.mean()) if marked else None,
        "high_percent": 100 * int((marked_values > high).sum()) / lung if lung else None,
    }


def score_case(case: Case, marked: Marked, in_given_lungs: Marked) -> Row:
    """Everything of one case: where both readers read, and as a whole against the first.

    Parameters
    ----------
    in_given_lungs
        What infnet marks when it is given the labelled lungs.
    """
    masks = {"infnet": marked.infection, "first": case.first, "second": case.second}
    lungs = {
        "infnet": marked.lungs,
        "first": case.lungs | case.first,
        "second": case.lungs | case.second,
    }
    read, high = case.covered, to_grey(HIGH_OPACITY_ABOVE_HU)
    here = {name: mask & read[:, None, None] for name, mask in masks.items()}
    numbers = {
        name: quantify_mask(
            masks[name][read],
            lungs[name][read],
            case.grey[read],
            case.voxel_ml,
            high=to_grey(HIGH_OPACITY_ABOVE_HU),
        )
        for name in READERS
    }
    whole = {
        name: quantify_mask(masks[name], lungs[name], case.grey, case.voxel_ml, high=high)
        for name in ("infnet", "first")
    }
    unmarked = lungs["first"].any(axis=(1, 2)) & ~(case.first | case.second).any(axis=(1, 2))
    return {
        "name": case.known.name,
        "patient": case.known.patient,
        "training": case.known.training,
        "slices": len(read),
        "slices_read_by_both": int(read.sum()),
        "read_by_both": {
            **{measure: {name: numbers[name][measure] for name in READERS} for measure in numbers["first"]},
            "dice": {
                f"{a}, {b}": dice(masks[a][read], masks[b][read])
                for a, b in (("infnet", "first"), ("infnet", "second"), ("second", "first"))
            },
            "lesions": {
                f"{owner}'s in {other}": asdict(lesions_found(here[owner], here[other], case.voxel_ml))
                for owner in READERS
                for other in READERS
                if owner != other
            },
            "infnet's in either": asdict(
                lesions_found(here["infnet"], here["first"] | here["second"], case.voxel_ml)
            ),
        },
        "lungs_given": {
            "ml": int(in_given_lungs.infection[read].sum()) * case.voxel_ml,
            "dice": {
                f"infnet, {name}": dice(in_given_lungs.infection[read], masks[name][read])
                for name in ("first", "second")
            },
        },
        "whole": {
            **{measure: {name: whole[name][measure] for name in whole} for measure in whole["first"]},
            "dice": dice(masks["infnet"], masks["first"]),
            "lesions": asdict(lesions_found(masks["first"], masks["infnet"], case.voxel_ml)),
            "unmarked_slices": int(unmarked.sum()),
            "false_ml_in_them": int(masks["infnet"][unmarked].sum()) * case.voxel_ml,
            "false_percent_in_them": _share(masks["infnet"][unmarked], lungs["infnet"][unmarked]),
        },
    }


def score_healthy(name: str, note: str, pieces: Sequence[tuple[Marked, float | None]]) -> Row:
    """Whatever is marked in an examination without infection.

    Parameters
    ----------
    pieces
        Masks and the volume of a voxel in ml; None where voxels have no size, and millilitres are None then.
    """
    sizes = [ml for _, ml in pieces if ml is not None]
    weights = sizes if len(sizes) == len(pieces) else [1.0] * len(pieces)
    lung = sum(int(one.lungs.sum()) * ml for (one, _), ml in zip(pieces, weights, strict=True))
    false = sum(int(one.infection.sum()) * ml for (one, _), ml in zip(pieces, weights, strict=True))
    return {
        "name": name,
        "note": note,
        "slices_with_lung": sum(int(one.lungs.any(axis=(1, 2)).sum()) for one, _ in pieces),
        "lung_ml": lung if weights is sizes else None,
        "false_ml": false if weights is sizes else None,
        "false_percent": 100 * false / lung if lung else None,
    }


def over_cases(cases: Sequence[Row], *, draws: int, seed: int) -> Row:
    """Agreement over all cases, and over those whose labels were in no training."""
    groups = {
        "all": list(cases),
        "no manual labels in training": [case for case in cases if case["training"] != MANUAL],
    }
    return {name: _over(some, draws, seed) for name, some in groups.items()}


def _over(cases: list[Row], draws: int, seed: int) -> Row:
    measurable = _measurable(cases)
    return {
        "cases": [case["name"] for case in cases],
        "measurable": [case["name"] for case in measurable],
        "mean_dice": {pair: _mean_dice(measurable, pair, draws, seed) for pair in _dice_pairs(measurable)},
        "dice_above_readers": _dice_above_readers(measurable, draws, seed),
        "relative_distance_percent": _relative_distance(measurable),
        "lesions": _lesions(cases),
        "agreement": {
            measure: {
                f"{a}, {b}": _agreement(cases, measure, a, b, draws, seed)
                for a, b in PAIRS
                if _shared(cases, measure, a, b)
            }
            for measure in MEASURES
        },
        "icc_of_three": {
            measure: _icc_of_three(cases, measure, draws, seed) for measure in ("ml", "percent")
        },
    }


def _measurable(cases: Sequence[Row]) -> list[Row]:
    return [case for case in cases if (_value(case, "ml", "both readers") or 0) >= MEASURABLE_ML]


def _dice_pairs(cases: Sequence[Row]) -> list[str]:
    return list(cases[0]["read_by_both"]["dice"]) if cases else []


def _mean_dice(cases: list[Row], pair: str, draws: int, seed: int) -> Row:
    return _with_interval(
        cases, lambda some: float(np.mean([case["read_by_both"]["dice"][pair] for case in some])), draws, seed
    )


def _dice_above_readers(cases: list[Row], draws: int, seed: int) -> Row:
    """Mean of infnet's Dice with either reader, less that of the readers with each other."""

    def difference(some: list[Row]) -> float:
        each = [case["read_by_both"]["dice"] for case in some]
        own = [(one["infnet, first"] + one["infnet, second"]) / 2 for one in each]
        return float(np.mean(own) - np.mean([one["second, first"] for one in each]))

    return _with_interval(cases, difference, draws, seed)


def _relative_distance(cases: Sequence[Row]) -> Row:
    """Distance of two readers' ml in % of the mean of both; from the mean of both readers, in % of that."""
    found = {}
    for first, second in PAIRS:
        one, other = (_values(cases, "ml", reader) for reader in (first, second))
        size = other if second == "both readers" else (one + other) / 2
        percent = 100 * np.abs(one - other) / size
        found[f"{first}, {second}"] = {"median": float(np.median(percent)), "largest": float(percent.max())}
    return found


def _lesions(cases: Sequence[Row]) -> Row:
    """Lesions of all cases together."""
    pairs = cases[0]["read_by_both"]["lesions"]
    counted = {
        pair: {
            count: sum(case["read_by_both"]["lesions"][pair][count] for case in cases)
            for count in ("number", "touched", "half")
        }
        for pair in pairs
    }
    alone = [case["read_by_both"]["infnet's in either"] for case in cases]
    return {**counted, "infnet's in neither": sum(one["number"] - one["touched"] for one in alone)}


def _agreement(cases: list[Row], measure: str, first: str, second: str, draws: int, seed: int) -> Row:
    some = _shared(cases, measure, first, second)

    def pair(of: list[Row]) -> tuple[Values, Values]:
        return _values(of, measure, first), _values(of, measure, second)

    ratio: Limits | None = ratio_limits(*pair(_measurable(some)))
    return {
        **asdict(bland_altman(*pair(some))),
        "ratio": ratio and asdict(ratio),
        "icc_a1": _with_interval(some, lambda of: icc_a1(np.stack(pair(of), axis=1)), draws, seed),
        "ccc": _with_interval(some, lambda of: lins_ccc(*pair(of)), draws, seed),
    }


def _icc_of_three(cases: list[Row], measure: str, draws: int, seed: int) -> Row:
    return _with_interval(cases, lambda some: icc_a1(_matrix(some, measure)), draws, seed)


def _with_interval(
    cases: list[Row], measure: Callable[[list[Row]], float | None], draws: int, seed: int
) -> Row:
    interval = bootstrap(
        lambda chosen: measure([cases[i] for i in chosen]),
        [case["patient"] for case in cases],
        draws=draws,
        seed=seed,
    )
    return {"value": measure(cases), "interval": interval and list(interval)}


def _shared(cases: Sequence[Row], measure: str, *readers: str) -> list[Row]:
    """Cases of which all these readers have this measure."""
    return [case for case in cases if all(_value(case, measure, reader) is not None for reader in readers)]


def _value(case: Row, measure: str, reader: str) -> float | None:
    values: dict[str, float | None] = case["read_by_both"][measure]
    if reader != "both readers":
        return values[reader]
    first, second = values["first"], values["second"]
    return None if first is None or second is None else (first + second) / 2


def _values(cases: Sequence[Row], measure: str, reader: str) -> Values:
    return np.array([_value(case, measure, reader) for case in cases], np.float64)


def _matrix(cases: Sequence[Row], measure: str) -> Values:
    """(cases, readers)."""
    return np.stack([_values(cases, measure, reader) for reader in READERS], axis=1)


def _share(infection: BoolArray, lungs: BoolArray) -> float | None:
    return 100 * int(infection.sum()) / int(lungs.sum()) if lungs.any() else None
