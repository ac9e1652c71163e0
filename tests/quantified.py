"""What tests look for in the numbers of a scan, and the published schema that reports are held against."""

import json
import sys
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from infnet_runtime.measure.result import Quantification


def why_missing(q: Quantification) -> dict[str, str]:
    """Reasons of what has nothing to do with HU and lobes: regions as a whole, their ml and shares."""
    ends = ("both", "right", "left", "lung_ml", "infection_ml", "infection_percent", "outside_lungs_ml")
    return {
        name: why
        for name, why in q.reasons.items()
        if name.endswith(ends) and not name.startswith(("lobes", "scores"))
    }


def schema(name: str = "quantification") -> dict[str, Any]:
    """As it is shipped in the package."""
    text = (files("infnet_runtime.report") / f"{name}.schema.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def check_report(document: dict[str, Any]) -> None:
    """Hold a report against the schema; each null in it has a reason, and no reason is without a null."""
    Draft202012Validator(schema()).validate(document)
    q = document["quantification"]
    _check_reasons(q, q["reasons"])
    for part in ("classes", "hu_classes", "uncertainty"):
        if q.get(part):
            _check_reasons(q[part], q[part]["reasons"])


def _check_reasons(values: dict[str, Any], reasons: dict[str, str]) -> None:
    missing = {
        f"{prefix}{key}" for prefix, part in _parts(values) for key, value in part.items() if value is None
    }
    assert missing == set(reasons)


def _parts(values: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    apart = ("reasons", "flag_texts", "classes", "hu_classes", "hu_histogram", "uncertainty")
    inner = [
        part
        for key, value in values.items()
        if isinstance(value, dict) and key not in apart
        for part in _parts(value, f"{prefix}{key}.")
    ]
    return [(prefix, values), *inner]


def page_tables() -> str:
    """All numbers as tables of ``docs/quantification.md``: name, unit, meaning, and why it may be null."""
    document = schema()
    q, defs = document["properties"]["quantification"]["properties"], document["$defs"]
    apart = ("lobes", "scores", "zones", "hu_classes", "hu_histogram", "uncertainty", "classes")
    tables = {
        "`both`, `right`, `left` and each of `lobes`": defs["region"]["properties"],
        "`hu_classes` and `classes`: `both`, `right`, `left`": defs["kinds"]["properties"],
        "`scores`": q["scores"]["properties"],
        "Each of `zones`": defs["zone"]["properties"],
        "`uncertainty`": q["uncertainty"]["properties"],
        "`hu_histogram`": q["hu_histogram"]["properties"],
        "`quantification`": {k: v for k, v in q.items() if k not in apart} | {k: q[k] for k in apart},
        "Each of `slices`": defs["slice"]["properties"],
    }
    return "\n".join(f"### {title}\n\n{_table(keys)}" for title, keys in tables.items())


def _table(keys: dict[str, Any]) -> str:
    lines = ["| name | unit | what it is | null |", "| --- | --- | --- | --- |"]
    for name, key in keys.items():
        null = ", ".join(f"`{why}`" for why in key.get("x-null", []))
        lines.append(f"| `{name}` | {key.get('x-unit', '')} | {key['description']} | {null} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page_tables())
