"""A result for machines (JSON) and for people (a few lines)."""

import json
from pathlib import Path
from typing import Any

from infnet_runtime.measure.burden import Burden, Quantification
from infnet_runtime.segment.result import Segmentation

SCHEMA = "infnet.quantification/1"

DEFINITIONS = {
    "infection": "voxels inside the lungs whose infection probability, on the scan's own grid, reaches the "
    "threshold",
    "infection_percent": "infection_ml / lung_ml * 100, of the same region",
    "ml": "number of voxels times |det(affine)| / 1000",
    "right, left": "the patient's sides",
    "notice": "research software, not a medical device",
}


def to_json(result: Segmentation, *, outputs: dict[str, str]) -> str:
    """Report as JSON.

    Parameters
    ----------
    outputs
        Kind of file to its name.
    """
    volume, q = result.volume, result.quantification
    has_size = q.reasons.get("both") != "no_voxel_size"
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "input": {
            "file": volume.source,
            "shape": list(volume.voxels.shape),
            "spacing_mm": list(volume.spacing_mm) if has_size else None,
            "orientation": volume.grid.orientation,
            "intensity": str(volume.intensity),
        },
        "quantification": q.to_dict(),
        "definitions": DEFINITIONS,
        "outputs": outputs,
        "provenance": result.provenance.to_dict(),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def to_text(result: Segmentation, *, files: list[Path]) -> str:
    """Report in about five lines."""
    volume, q = result.volume, result.quantification
    shape = " x ".join(map(str, volume.voxels.shape))
    has_size = q.reasons.get("both") != "no_voxel_size"
    spacing = " x ".join(f"{s:.2f}" for s in volume.spacing_mm) + " mm" if has_size else "no voxel size"
    lines = [
        ("scan", f"{volume.source}: {shape}, {spacing}, {volume.intensity}"),
        ("slices", f"{q.slices}, with lung {q.slices_with_lung}, with infection {q.slices_with_infection}"),
    ]
    if q.both:
        right, left = (_side(q, "right"), _side(q, "left"))
        lines += [
            ("lungs", f"{q.both.lung_ml:.0f} ml (right {right[0]}, left {left[0]})"),
            ("infection", f"{_burden(q.both)} (right {right[1]}; left {left[1]})"),
        ]
    else:
        reason = "the input has no voxel size" if not has_size else "no lung was found"
        lines.append(("infection", f"no millilitres: {reason}"))
    lines.append(("written", ", ".join(map(str, files))))
    lines += [("WARNING", q.flag_texts[flag]) for flag in q.warnings]
    lines += [("note", text) for flag, text in q.flag_texts.items() if flag not in q.warnings]
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _side(q: Quantification, name: str) -> tuple[str, str]:
    """Lung and infection of one side, or why they are not given."""
    burden = q.right if name == "right" else q.left
    if burden is None:
        why = "not known" if q.reasons[name] == "side_unknown" else "no lung"
        return why, why
    return f"{burden.lung_ml:.0f}", _burden(burden)


def _burden(burden: Burden) -> str:
    return f"{burden.infection_ml:.1f} ml, {burden.infection_percent:.1f} %"
