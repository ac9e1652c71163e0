"""The report of the accuracy benchmark as Markdown tables, ready for a model card."""

from typing import Any

PAPER = {
    "mean_dice": "Dice",
    "mean_sensitivity": "sensitivity",
    "mean_specificity": "specificity",
    "s_measure": "S-measure",
    "mean_e_measure": "E-measure",
    "mae": "MAE",
}
_CLINICAL = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "sensitivity",
    "precision": "precision",
    "specificity": "specificity",
    "mae": "MAE",
}
# Table V of the paper: 638 slices of nine volumes, rule for empty slices not stated.
_TABLE_V = {
    "published Inf-Net": (0.579, 0.870, 0.974, 0.500, 0.047),
    "published Semi-Inf-Net": (0.597, 0.865, 0.977, 0.515, 0.033),
}
_TABLE_V_COLUMNS = ("dice", "sensitivity", "specificity", "precision", "mae")
_RULES = {
    "empty = one": "empty on both sides = 1",
    "empty = skip": "empty on both sides left out",
    "empty = zero": "empty on both sides = 0",
    "infected slices only": "infected slices only",
}

_RULE = (
    "This card's rule for a slice without infection: Dice 1 where nothing is marked, 0 where "
    "something is; the other rules stand beside it. The paper does not state its own, and its 638 "
    "slices of nine volumes are another set: its figures give the order of size, not a comparison. "
    "Sensitivity leaves out slices where only the prediction marks something, precision those where "
    "only the truth does. Paper protocol: maps are the probability inside the lungs; a healthy slice "
    "scores 0 in Dice, sensitivity and specificity, whatever is marked."
)


def to_markdown(report: dict[str, Any]) -> str:
    """All tables that were measured."""
    model = report["model"]
    scaled = "" if report["temperature"] == 1 else f" with the model's temperature {report['temperature']:g}"
    parts = [
        f"Measured on `{model['file']}` ({model['name']} {model['version']}, sha256 "
        f"`{model['sha256'][:12]}`) with infnet {report['infnet']}, {report['backend']} on "
        f"{report['device']}. *Paper protocol*: each map, before calibration, stretched to 0..1 by its own "
        f"range, mean over 256 thresholds. *Clinical protocol*: the probability as it is{scaled}, threshold "
        f"{report['threshold']:g}; a slice empty on both sides scores 1 unless another rule is named. "
        "± is the standard error over the slices of the row, as if they were independent."
    ]
    sections = {
        "test slices": _test_slices,
        "volumes": _volumes,
        "enhanced": _enhanced,
        "transferred": _transferred,
        "healthy": _healthy,
    }
    parts += [make(report[name]) for name, make in sections.items() if name in report]
    parts += [f"Not measured: {name}; {reason}." for name, reason in report["not_measured"].items()]
    return "\n\n".join(parts)


def _test_slices(rows: dict[str, Any]) -> str:
    slices = rows["this model"]["slices"]
    paper = [[_own(name), *(mean_cell(row["paper"][m]) for m in PAPER)] for name, row in rows.items()]
    clinical = [
        [
            _own(name) + (" (maps are stretched)" if name.startswith("published") else ""),
            *(mean_cell(row["clinical"][m]) for m in _CLINICAL),
        ]
        for name, row in rows.items()
    ]
    return "\n\n".join(
        [
            f"**The {slices} test slices of COVID-SemiSeg**, whole picture at network size. Published: the "
            "authors' maps, scored by the same code.",
            table(["paper protocol", *PAPER.values()], paper),
            table(["clinical protocol", *_CLINICAL.values()], clinical),
        ]
    )


def _own(name: str) -> str:
    return f"**{name}**" if name == "this model" else name


def _volumes(section: dict[str, Any]) -> str:
    columns = ["volume", "in training", "Dice", "sensitivity", "precision", "specificity", "labelled"]
    columns += ["measured", "false positives in slices without infection"]
    rows = [
        [
            name,
            _yes(row["in_training"]),
            *(number_cell(row[m]) for m in ("dice", "sensitivity", "precision", "specificity")),
            f"{row['labelled_ml']:.0f} ml",
            f"{row['measured_ml']:.0f} ml",
            f"{row['false_positive_ml_in_them']:.1f} ml, in {row['of_them_marked']} of "
            f"{row['slices_without_infection']} slices",
        ]
        for name, row in section["by_volume"].items()
    ]
    total = section["by_slice"]["all"]
    return "\n\n".join(
        [
            "**Whole volumes** through the path of `infnet-infer` (lungs found), clinical protocol, "
            "all voxels of a volume counted together. Their millimetres are nominal.",
            table(columns, rows),
            f"**The same volumes slice by slice**, as the paper's Table V: all {total['slices']} slices, "
            f"{total['slices'] - total['with_infection']} of them healthy, each whole; mean over "
            f"slices. {_RULE}",
            _slice_rules(section["by_slice"]),
            _slices_by_paper(section["by_slice"]),
        ]
    )


def _slice_rules(groups: dict[str, Any]) -> str:
    rows = []
    for name, group in groups.items():
        # each volume by the rule of this card; the groups by every rule
        rules = _RULES if name in ("all", "not in training") else ["empty = one"]
        for rule in rules:
            if summary := group[rule]:
                clinical = summary["clinical"]
                means = (mean_cell(clinical[m]) for m in _TABLE_V_COLUMNS)
                rows.append([_group(name), str(summary["slices"]), _RULES[rule], *means])
    for name, values in _TABLE_V.items():
        rows.append([f"{name}, Table V", "638", "not stated", *(f"{value:.3f}" for value in values)])
    names = (_CLINICAL[m] for m in _TABLE_V_COLUMNS)
    return table(["clinical protocol", "slices", "rule", *names], rows)


def _slices_by_paper(groups: dict[str, Any]) -> str:
    rows = []
    for name, group in groups.items():
        for rule, which in (("empty = one", "all"), ("infected slices only", "with infection")):
            if summary := group[rule]:
                means = (mean_cell(summary["paper"][m]) for m in PAPER)
                rows.append([_group(name), f"{summary['slices']}, {which}", *means])
    return table(["paper protocol", "slices", *PAPER.values()], rows)


def _group(name: str) -> str:
    return {"all": "**all volumes**", "not in training": "**volumes not in training**"}.get(name, name)


def _enhanced(section: dict[str, Any]) -> str:
    return (
        f"**{section['all slices']['slices']} contrast-enhanced coronacases slices** (256 x 256, contrast "
        "stretched by the source, cut at the labelled lungs): a shift of the domain.\n\n"
    ) + _cases(section)


def _transferred(section: dict[str, Any]) -> str:
    return (
        f"**{section['all slices']['slices']} coronacases slices without enhancement**: the same manual "
        "labels, moved onto the pictures of COVID-SemiSeg that show the same planes, in the grey "
        "scale of the labelled slices.\n\n"
    ) + _cases(section)


def _cases(section: dict[str, Any]) -> str:
    names = ["Dice", "IoU", "sensitivity", "precision", "specificity", "MAE"]
    columns = ["clinical protocol, mean over slices", "in training", "slices", *names]
    columns += ["paper protocol: Dice", "S-measure", "E-measure", "MAE"]
    rows = [[name, _yes(row["in_training"]), *_case(row)] for name, row in section["cases"].items()]
    rows.append(["**all slices**", "", *_case(section["all slices"])])
    if held_out := section["mean over held-out cases"]:
        name = f"**mean of {len(held_out['cases'])} held-out cases**, ± over the cases"
        rows.append([name, "no", *_case(held_out)])
    return table(columns, rows)


def _case(row: dict[str, Any]) -> list[str]:
    paper = ("mean_dice", "s_measure", "mean_e_measure", "mae")
    return [
        str(row["slices"]),
        *(mean_cell(row["clinical"][m]) for m in _CLINICAL),
        *(mean_cell(row["paper"][m]) for m in paper),
    ]


def _healthy(row: dict[str, Any]) -> str:
    cells = [
        row["series"],
        f"{row['lung_ml']:.0f} ml",
        f"{row['false_positive_ml']:.1f} ml",
        f"{row['false_positive_percent']:.2f} %",
        f"{row['slices_marked']} of {row['slices_with_lung']}",
    ]
    return "**A chest CT without COVID-19**, HU, through the path of `infnet-infer`.\n\n" + table(
        ["series", "lungs", "false positives", "share of the lungs", "slices marked"], [cells]
    )


def mean_cell(mean: dict[str, Any]) -> str:
    """A mean and its standard error, where it has one."""
    if mean["standard_error"] is None:
        return number_cell(mean["value"])
    return f"{mean['value']:.3f} ± {mean['standard_error']:.3f}"


def number_cell(value: float | None) -> str:
    """Three decimals, or a dash for what was left out."""
    return "-" if value is None else f"{value:.3f}"


def _yes(answer: bool) -> str:
    return "**yes**" if answer else "no"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
