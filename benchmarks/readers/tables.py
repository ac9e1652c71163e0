"""The numbers of ``benchmarks/validation.py`` as Markdown tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from infnet_runtime.measure.definitions import HIGH_OPACITY_ABOVE_HU
from readers.scores import MEASURABLE_ML, READERS, WINDOW_HU

Row = dict[str, Any]

_OF_MEASURE = {
    "ml": "infection, ml",
    "percent": "% of the lung",
    "mean": "mean grey",
    "high_percent": "high opacity, % of the lung",
}
_DIGITS = {"ml": 0, "percent": 1, "mean": 0, "high_percent": 2}
_DICE = ("infnet, first", "infnet, second", "second, first")


def to_markdown(report: Row) -> str:
    """All tables, with a heading each."""
    everything = report["over_cases"]["all"]
    parts = [
        _made_by(report),
        "### Where both groups read",
        _cases(report["cases"]),
        _summary(report["over_cases"]),
        "### Limits of agreement",
        _agreement(everything, ("ml", "percent")),
        "### With the labelled lungs given",
        _lungs_given(report["cases"]),
        "### Lesions",
        _lesions(report["cases"], everything["lesions"]),
        "### Density",
        _density(report["cases"]),
        _agreement(everything, ("mean", "high_percent")),
        "### Whole volumes, first group alone",
        _whole(report["cases"]),
        "### Without infection",
        _healthy(report["healthy"]),
    ]
    return "\n\n".join(parts) + "\n"


def _made_by(report: Row) -> str:
    by, bootstrap = report["by"], report["bootstrap"]
    return (
        f"Measured with infnet {report['infnet']}, model `{by['model']}` {by['model_version']} (sha256 "
        f"`{by['model_sha256'][:12]}`), {by['backend']}, {by['precision']}, threshold "
        f"{by['threshold']:g}. Intervals in brackets: 95 %, bootstrap over {bootstrap['over']}, "
        f"{bootstrap['draws']} draws, seed {bootstrap['seed']}."
    )


def _cases(cases: Sequence[Row]) -> str:
    head = ["volume", "in training", "slices"]
    head += [f"ml: {', '.join(READERS)}", f"% of the lung: {', '.join(READERS)}"]
    head += [f"Dice: {pair}" for pair in _DICE]
    rows = []
    for case in cases:
        here = case["read_by_both"]
        rows.append(
            [
                _short(case),
                case["training"],
                str(case["slices_read_by_both"]),
                _three(here["ml"], 1),
                _three(here["percent"], 2),
                *(_number(here["dice"][pair], 2) for pair in _DICE),
            ]
        )
    return _table(head, rows)


def _summary(groups: Row) -> str:
    head = ["", *(f"{name} ({len(group['measurable'])} cases)" for name, group in groups.items())]
    several = list(groups.values())
    rows = [
        [f"mean Dice: {pair}", *(_with_interval(group["mean_dice"][pair], 2) for group in several)]
        for pair in _DICE
    ]
    rows.append(
        [
            "Dice of infnet with either, less that of the readers",
            *(_with_interval(group["dice_above_readers"], 2, sign="+") for group in several),
        ]
    )
    for pair in several[0]["relative_distance_percent"]:
        distances = [group["relative_distance_percent"][pair] for group in several]
        what = "from the mean of both readers" if "both" in pair else f"{pair}, of their mean"
        rows.append(
            [
                f"ml apart, median / largest: {what}",
                *(f"{one['median']:.0f} % / {one['largest']:.0f} %" for one in distances),
            ]
        )
    return f"Over the cases with {MEASURABLE_ML:g} ml or more by the readers:\n\n{_table(head, rows)}"


def _agreement(group: Row, measures: Sequence[str]) -> str:
    head = ["measure", "first less second", "cases", "bias", "limits", "ratio", "its limits"]
    head += ["ICC(A,1)", "CCC"]
    rows = []
    for measure in measures:
        digits = _DIGITS[measure]
        for pair, found in group["agreement"][measure].items():
            difference, ratio = found["difference"], found["ratio"]
            rows.append(
                [
                    _OF_MEASURE[measure],
                    pair,
                    str(found["cases"]),
                    f"{difference['bias']:+.{digits}f}",
                    f"{difference['low']:+.{digits}f} to {difference['high']:+.{digits}f}"
                    + (", grows" if found["spread_grows"] else ""),
                    f"{ratio['bias']:.2f}" if ratio else "-",
                    f"{ratio['low']:.2f} to {ratio['high']:.2f}" if ratio else "-",
                    _with_interval(found["icc_a1"], 2),
                    _with_interval(found["ccc"], 2),
                ]
            )
    lines = [_table(head, rows)]
    if of_three := [
        f"{_OF_MEASURE[m]} {_with_interval(group['icc_of_three'][m], 2)}"
        for m in measures
        if m in group["icc_of_three"]
    ]:
        lines.append(f"ICC(A,1) of all three readers: {'; '.join(of_three)}.")
    return "\n\n".join(lines)


def _lungs_given(cases: Sequence[Row]) -> str:
    head = ["volume", "ml: lungs found, lungs given", "Dice with the first", "Dice with the second"]
    rows = []
    for case in cases:
        found, given = case["read_by_both"], case["lungs_given"]
        rows.append(
            [
                _short(case),
                f"{found['ml']['infnet']:.1f}, {given['ml']:.1f}",
                *(
                    f"{_number(found['dice'][pair], 2)}, {_number(given['dice'][pair], 2)}"
                    for pair in ("infnet, first", "infnet, second")
                ),
            ]
        )
    return _table(head, rows)


def _lesions(cases: Sequence[Row], total: Row) -> str:
    head = ["volume", "first's: in infnet", "in second", "second's: in infnet", "in first"]
    head += ["infnet's: in first", "in second", "in neither"]
    pairs = [
        f"{owner}'s in {other}"
        for owner, others in (
            ("first", ("infnet", "second")),
            ("second", ("infnet", "first")),
            ("infnet", ("first", "second")),
        )
        for other in others
    ]

    def found(row: Row) -> list[str]:
        return [f"{row[p]['touched']} ({row[p]['half']}) of {row[p]['number']}" for p in pairs]

    rows = []
    for case in cases:
        here = case["read_by_both"]
        alone = here["infnet's in either"]
        rows.append([_short(case), *found(here["lesions"]), str(alone["number"] - alone["touched"])])
    rows.append(["**all**", *found(total), str(total["infnet's in neither"])])
    return _table(head, rows)


def _density(cases: Sequence[Row]) -> str:
    low, high = WINDOW_HU
    head = ["volume", f"mean grey: {', '.join(READERS)}", "the same in nominal HU"]
    head += [f"high opacity, % of the lung: {', '.join(READERS)}"]
    rows = []
    for case in cases:
        grey = case["read_by_both"]["mean"]
        hu = {
            name: None if value is None else low + (high - low) * value / 255 for name, value in grey.items()
        }
        high_opacity = case["read_by_both"]["high_percent"]
        rows.append([_short(case), _three(grey, 0), _three(hu, 0), _three(high_opacity, 2)])
    return (
        f"{_table(head, rows)}\n\nNominal HU: as if grey 0 to 255 were {low:g} to {high:g} HU, the window of "
        f"the model's contract; high opacity is what then lies above {HIGH_OPACITY_ABOVE_HU:g} HU."
    )


def _whole(cases: Sequence[Row]) -> str:
    head = ["volume", "Dice", "ml: infnet, first", "% of the lung: infnet, first", "lesions found"]
    head += ["slices with lung that nobody marked", "marked in them"]
    rows = []
    for case in cases:
        whole = case["whole"]
        lesions = whole["lesions"]
        share = whole["false_percent_in_them"]
        rows.append(
            [
                _short(case),
                _number(whole["dice"], 3),
                _three(whole["ml"], 1),
                _three(whole["percent"], 2),
                f"{lesions['touched']} ({lesions['half']}) of {lesions['number']}",
                str(whole["unmarked_slices"]),
                f"{whole['false_ml_in_them']:.1f} ml, {_number(share, 2)} %",
            ]
        )
    return _table(head, rows)


def _healthy(rows: Sequence[Row]) -> str:
    head = ["examination", "slices with lung", "lungs", "marked", "share of the lungs"]
    return _table(
        head,
        (
            [
                ", ".join(part for part in (row["name"], row["note"]) if part),
                str(row["slices_with_lung"]),
                _ml(row["lung_ml"], 0),
                _ml(row["false_ml"], 1),
                f"{_number(row['false_percent'], 2)} %",
            ]
            for row in rows
        ),
    )


def _ml(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f} ml"


def _short(case: Row) -> str:
    return str(case["name"]).removeprefix("radiopaedia_")


def _three(values: Row, digits: int) -> str:
    return ", ".join(_number(value, digits) for value in values.values())


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_interval(found: Row, digits: int, *, sign: str = "") -> str:
    if found["value"] is None:
        return "-"
    text = f"{found['value']:{sign}.{digits}f}"
    if found["interval"] is None:
        return text
    low, high = found["interval"]
    return f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
