"""The tables as Markdown, from the file of all results alone."""

from typing import Any

from tables import mean_cell, number_cell, table

from infnet_runtime.metrics import TABLE_COLUMNS
from paper.published import (
    TABLE_II,
    TABLE_III,
    TABLE_IV,
    TABLE_V,
    VOLUME_MEASURES,
    Row,
    Values,
)
from paper.systems import SYSTEMS

_SHORT = ("Dice", "Sen", "Spec", "S", "E", "MAE")
_VOLUME_SHORT = ("Dice", "Sen", "Spec", "Prec", "MAE")
_NOT_RUN = "not run"
_CLINICAL = {"dice": "Dice", "sensitivity": "Sen", "precision": "Prec", "specificity": "Spec"}
_KINDS = {"ground_glass": "ground glass", "consolidation": "consolidation"}
_HEAD = """\
# The paper's tables, measured again

Written by `benchmarks/paper_tables.py` from `paper_tables.json`. *Published*: what Fan et al. print (IEEE
TMI 2020, arXiv 2004.14133v4). *Ours*: networks of this repository, trained by one recipe
(`train/configs/paper_tables.toml`): the 50 labelled slices, random weights, no ImageNet, no
pseudo-labels, one seed. The paper trained each of the others by its own recipe, and its own with ImageNet
and, in Table IV, with 1600 pseudo-labels: rows of ours compare with each other, not with the paper. What
was not trained is *not run*.

*Paper protocol*: each map stretched to 0..1 by its own range, mean over 256 thresholds, mean over the
slices. *Clinical protocol*: the probability as it is, threshold 0.5; ± is the standard error over the
slices as if they were independent, so differences of 0.03 between single runs prove little."""


def to_markdown(document: dict[str, Any]) -> str:
    """All tables; what was not measured says so."""
    systems, costs, maps = document["systems"], document["costs"], document["recomputed"]
    parts = [
        _HEAD,
        "## Recomputed from the authors' own maps",
        _recomputed(maps),
        "## Table II: infection, 48 test slices",
        _infection(TABLE_II, systems),
        _clinical(TABLE_II, systems, maps.get("II", {})),
        _costs(costs),
        "## Table III: ground glass and consolidation, 48 test slices",
        "Consolidation over the 38 slices that have it, as the paper. Ours: a pixel has a class where it is "
        "infected, that of the larger probability. *Semi-Inf-Net & ...*: ours have the probability of our "
        "Inf-Net as a prior, and that network says what is infected.",
        *(_classes(kind, systems) for kind in _KINDS),
        _clinical_classes(systems),
        "## Table IV: parts of Inf-Net",
        "The paper's rows are semi-supervised, ours are not; what stands in for an absent part is said in "
        "`train/infnet_train/networks/inf_net.py`.",
        _infection(TABLE_IV, systems),
        _clinical(TABLE_IV, systems, {}),
        "## Table V: volumes with healthy slices",
        _volumes(systems),
        "## How each was measured",
        _how(systems),
    ]
    return "\n\n".join(parts)


def _recomputed(maps: dict[str, Any]) -> str:
    if not maps:
        return f"{_NOT_RUN}."
    rows = []
    for row in TABLE_II:
        measured = maps["II"].get(row.method)
        rows.append(["II", row.method, "infection", *_against(row.values, measured)])
    for row in TABLE_III:
        for kind, name in _KINDS.items():
            printed = row.values if kind == "ground_glass" else row.consolidation
            measured = maps["III"].get(row.method)
            rows.append(["III", row.method, name, *_against(printed, measured and measured[kind])])
    told = table(["table", "method", "of", "slices", *_SHORT, "agrees"], rows)
    return (
        "Published / recomputed with `infnet_runtime.metrics`. The last digit of one value differs: the "
        "paper prints .458 where the authors' own files and maps give .4573. Of methods whose maps were not "
        f"released nothing can be recomputed.\n\n{told}"
    )


def _against(printed: Values, measured: dict[str, Any] | None) -> list[str]:
    if not measured:
        return ["-", *(f"{value:.3f} / -" for value in printed), "no maps released"]
    found = [measured["paper"][m]["value"] for m in TABLE_COLUMNS]
    differing = [name for name, a, b in zip(_SHORT, printed, found, strict=True) if f"{a:.3f}" != f"{b:.3f}"]
    cells = [f"{a:.3f} / {b:.4f}" for a, b in zip(printed, found, strict=True)]
    return [str(measured["slices"]), *cells, f"but {', '.join(differing)}" if differing else "yes"]


def _others(systems: dict[str, Any], part: str) -> list[Row]:
    """Models beside the systems, such as the shipped one."""
    return [Row(name, name, ()) for name, one in systems.items() if name not in SYSTEMS and part in one]


def _infection(rows: tuple[Row, ...], systems: dict[str, Any]) -> str:
    others = _others(systems, "infection") if rows is TABLE_II else []
    lines = [
        [row.method, *_beside(row.values, systems.get(row.system, {}).get("infection"))]
        for row in (*rows, *others)
    ]
    return table(["paper protocol", *_columns(_SHORT)], lines)


def _classes(kind: str, systems: dict[str, Any]) -> str:
    lines = []
    one_network = [Row("one network: Inf-Net with a class head", "inf-net-classes", ())]
    for row in (*TABLE_III, *one_network, *_others(systems, "classes")):
        measured = systems.get(row.system, {}).get("classes", {}).get(kind)
        printed = row.values if kind == "ground_glass" else row.consolidation
        lines.append([row.method, *_beside(printed, measured)])
    return table([f"{_KINDS[kind]}, paper protocol", *_columns(_SHORT)], lines)


def _columns(names: tuple[str, ...]) -> list[str]:
    return [f"{name}, {whose}" for name in names for whose in ("published", "ours")]


def _beside(printed: Values, measured: dict[str, Any] | None) -> list[str]:
    cells = []
    for number, measure in enumerate(TABLE_COLUMNS):
        cells.append(f"{printed[number]:.3f}" if printed else "-")
        cells.append(number_cell(measured["paper"][measure]["value"]) if measured else _NOT_RUN)
    return cells


def _clinical(rows: tuple[Row, ...], systems: dict[str, Any], maps: dict[str, Any]) -> str:
    lines = []
    for row in (*rows, *(_others(systems, "infection") if rows is TABLE_II else [])):
        lines.append([row.method, *_clinical_cells(systems.get(row.system, {}).get("infection"))])
        if row.method in maps:
            lines.append([f"{row.method}, the authors' maps", *_clinical_cells(maps[row.method])])
    note = (
        "\n\nThe authors' maps are stretched, so their threshold is one of their own range." if maps else ""
    )
    return table(["clinical protocol, mean over slices", *_CLINICAL.values(), "pooled Dice"], lines) + note


def _clinical_classes(systems: dict[str, Any]) -> str:
    lines = []
    for name, one in systems.items():
        for kind, measured in one.get("classes", {}).items():
            lines.append([name, _KINDS[kind], *_clinical_cells(measured)])
    columns = ["clinical protocol", "of", *_CLINICAL.values(), "pooled Dice, all slices"]
    return table(columns, lines) if lines else f"Clinical protocol: {_NOT_RUN}."


def _clinical_cells(measured: dict[str, Any] | None) -> list[str]:
    if not measured:
        return [_NOT_RUN] * (len(_CLINICAL) + 1)
    cells = [mean_cell(measured["clinical"][m]) for m in _CLINICAL]
    return [*cells, number_cell(measured["pooled"]["dice"])]


def _costs(costs: dict[str, Any]) -> str:
    if not costs:
        return f"Parameters, multiply-adds and time: {_NOT_RUN}."
    published = {row.system: row for row in TABLE_II if row.system}
    unit = costs.get("inf-net", {}).get("cpu_s", {}).get("best")
    lines = []
    for name in SYSTEMS:
        row, one = published.get(name), costs.get(name)
        printed = [row.parameters, row.operations] if row else ["-", "-"]
        if one is None:
            lines.append([name, printed[0], _NOT_RUN, printed[1], *[_NOT_RUN] * 3])
            continue
        seconds = one["cpu_s"]["best"]
        lines.append(
            [
                name,
                printed[0],
                f"{one['parameters'] / 1e6:.3f} M",
                printed[1],
                f"{one['multiply_adds']['352'] / 1e9:.3f} G",
                f"{seconds:.2f} s" if seconds else _NOT_RUN,
                f"{seconds / unit:.2f}" if seconds and unit else "-",
            ]
        )
    sizes = sorted({one["cpu_s"]["size"] for one in costs.values()})
    processors = sorted({one["processor"] for one in costs.values()})
    return (
        "Multiply-adds of convolutions for a slice of 352 x 352, as the paper's FLOPs; a prior is not "
        f"counted. CPU time: PyTorch, one thread, one slice of {' or '.join(map(str, sizes))} pixels a side, "
        f"the fastest of some turns, on {' and '.join(processors)}. The paper's Inf-Net counts a classifier "
        "of 2.049 M that is never called.\n\n"
        + table(
            [
                "system",
                "parameters, published",
                "ours",
                "FLOPs, published",
                "multiply-adds, ours",
                "CPU",
                "times Inf-Net",
            ],
            lines,
        )
    )


def _volumes(systems: dict[str, Any]) -> str:
    rules = {"pooled": "pooled", "skip": "skip", "infected slices": "infected"}
    lines = []
    first: dict[str, Any] = next((one["volumes"] for one in systems.values() if "volumes" in one), {})
    for row in (*TABLE_V, *_others(systems, "volumes")):
        measured = systems.get(row.system, {}).get("volumes")
        printed = [f"{value:.3f}" for value in row.values] or ["-"] * len(VOLUME_MEASURES)
        lines.append([f"{row.method}, published", "not stated", *printed]) if row.values else None
        if not measured:
            lines.append([f"{row.method}, ours", "-", *[_NOT_RUN] * len(VOLUME_MEASURES)])
            continue
        for rule, name in rules.items():
            values = measured[rule]
            cells = [_any_cell(values.get(m)) for m in VOLUME_MEASURES]
            lines.append([f"{row.method}, ours", name, *cells])
    said = (
        f"Ours: {first['slices']} slices of {', '.join(first['volumes'])}, {first['infected']} of them "
        "infected; none was in a training by the recipe. "
        if first
        else ""
    )
    return (
        f"{said}The paper's 638 slices of nine volumes are another set, and its rule for a slice without "
        "infection is not stated: its tool gives such a slice 0 in Dice, sensitivity and specificity, with "
        "which its own sensitivities could not be. Ours, three rules. *Pooled*: the pixels of all slices "
        "counted together. *Skip*: mean over slices, without those where truth and prediction are empty; 0 "
        "where something is marked on a healthy slice. *Infected*: mean over the infected slices alone. The "
        "network's probability "
        "counts inside the lungs that infnet finds.\n\n" + table(["method", "rule", *_VOLUME_SHORT], lines)
    )


def _any_cell(value: Any) -> str:  # noqa: ANN401 - a mean, a number or nothing
    return mean_cell(value) if isinstance(value, dict) else number_cell(value)


def _how(systems: dict[str, Any]) -> str:
    lines = []
    for name in (*SYSTEMS, *(n for n in systems if n not in SYSTEMS)):
        one = systems.get(name)
        lines.append([name, *(_how_cells(one["how"]) if one else [_NOT_RUN] * 6)])
    columns = ["system", "trained on", "slices seen", "steps, size", "seed", "from", "on"]
    return table(columns, lines)


def _how_cells(how: dict[str, Any]) -> list[str]:
    if "recipe" not in how:
        return [how["data"], *["see its card"] * 3, how["file"], "-"]
    return [
        f"{how['slices']} slices of {', '.join(how['data'])}",
        f"{how['slices_seen']}{', fitted to a time' if how['by_time'] else ''}",
        f"{how['steps']}, {how['size']}",
        str(how["seed"]),
        how["started_from"],
        " ".join(filter(None, (how["device"], how["precision"]))),
    ]
