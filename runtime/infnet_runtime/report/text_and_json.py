"""A result for machines (JSON) and for people (a few lines)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infnet_runtime.io.dicom.patient import Patient
from infnet_runtime.measure.definitions import CLASS_DEFINITIONS, DEFINITIONS, HIGH_OPACITY_ABOVE_HU
from infnet_runtime.measure.result import Burden, ClassBurden, Classes, Quantification
from infnet_runtime.report.files import SCHEMA, printable
from infnet_runtime.report.words import LUNGS
from infnet_runtime.scan.acquisition import Acquisition
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.segment.given_mask import Measured
from infnet_runtime.segment.result import Segmentation

FAILURE_SCHEMA = "infnet.failure/1"


def to_document(
    result: Segmentation | Measured,
    *,
    outputs: dict[str, str],
    path: Path | None = None,
    earlier: tuple[str, ...] = (),
    patient: Patient | None = None,
) -> dict[str, Any]:
    """Report as plain values for JSON.

    Parameters
    ----------
    outputs
        Kind of file to its name.
    path
        Of the scan, as the user gave it.
    earlier
        Names of files of earlier runs that this one did not write again.
    patient
        Whose scan it is, where a user wants it in the report.
    """
    volume, q = result.volume, result.quantification
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "input": {
            "file": printable(volume.source),
            "path": None if path is None else printable(str(path)),
            "sha256": volume.id.sha256,
            "shape": list(volume.voxels.shape),
            "spacing_mm": list(volume.spacing_mm) if q.has_size else None,
            "orientation": volume.grid.orientation,
            "intensity": str(volume.intensity),
            "dicom": _dicom(volume),
        },
        "quantification": q.to_dict(),
        "slices": [one.to_dict() for one in result.slices],
        "definitions": DEFINITIONS if q.classes is None else DEFINITIONS | CLASS_DEFINITIONS,
        "outputs": outputs,
        "outputs_of_earlier_runs": list(earlier),
        "provenance": result.provenance.to_dict(),
    }
    if patient is not None:
        document["input"]["patient"] = asdict(patient)
    return document


def _dicom(volume: CtVolume) -> dict[str, Any] | None:
    """Which series it is, and how it was taken; no patient fields."""
    if volume.id.series_uid is None:
        return None
    taken = volume.acquisition or Acquisition()
    return {"series_uid": volume.id.series_uid, "study_uid": volume.id.study_uid, **taken.to_dict()}


def to_json(result: Segmentation, *, outputs: dict[str, str]) -> str:
    """:func:`to_document` as a file."""
    return json_file(to_document(result, outputs=outputs))


def json_file(document: dict[str, Any]) -> str:
    """A document as people like to read it."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def json_line(document: dict[str, Any]) -> str:
    """A document as one line of a stream, in ASCII."""
    return json.dumps(document, allow_nan=False)


def failure_document(
    path: Path, *, code: int | None, message: str, series_uid: str | None = None
) -> dict[str, Any]:
    """What stands in the stream in place of the report of a scan that failed.

    Parameters
    ----------
    code
        Of the error; None for a bug.
    series_uid
        Of a scan from DICOM, where it is certain which one is meant.
    """
    series = {} if series_uid is None else {"series_uid": series_uid}
    return {
        "schema": FAILURE_SCHEMA,
        "input": {"file": printable(path.name), "path": printable(str(path)), **series},
        "error": {"code": code, "message": printable(message)},
    }


def to_text(result: Segmentation, *, files: Sequence[Path]) -> str:
    """Report in about five lines."""
    p = result.provenance
    network = f"{p.model} {p.model_version} in {p.precision}, {p.backend} on {p.device}"
    how = [("network", network), ("written", ", ".join(map(str, files)))]
    q = result.quantification
    return _text([*_numbers(result), *(_scores(q) if q.lobes else ()), *how, *_flags(q)])


def measured_text(result: Measured) -> str:
    """Numbers of a given mask in about ten lines."""
    q = result.quantification
    lines = [*_numbers(result), ("mask", result.provenance.mask or "an array")]
    if q.both:
        lines += _density(q.both)
    return _text([*lines, *_scores(q), *_flags(q)])


def _scores(q: Quantification) -> list[tuple[str, str]]:
    """Those that can be given."""
    shown = [f"{name} {score}" for name, score in vars(q.scores).items() if score is not None]
    return [("scores", ", ".join(shown))] if shown else []


def _text(lines: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _numbers(result: Segmentation | Measured) -> list[tuple[str, str]]:
    """The scan and what was found in it."""
    volume, q = result.volume, result.quantification
    shape = " x ".join(map(str, volume.voxels.shape))
    spacing = " x ".join(f"{s:.2f}" for s in volume.spacing_mm) + " mm" if q.has_size else "no voxel size"
    lines = [
        ("scan", f"{volume.source}: {shape}, {spacing}, {volume.intensity}"),
        ("slices", f"{q.slices}, with lung {q.slices_with_lung}, with infection {q.slices_with_infection}"),
    ]
    if not q.both:
        return [*lines, ("infection", "no millilitres and no share of the lung: no lung was found")]
    right, left = (_side(q, "right"), _side(q, "left"))
    origin = LUNGS.get(result.provenance.lungs, result.provenance.lungs)
    if q.both.lung_ml is None:
        lines.append(("lungs", f"no millilitres: the input has no voxel size; {origin}"))
    else:
        lines.append(("lungs", f"{q.both.lung_ml:.0f} ml (right {right[0]}, left {left[0]}), {origin}"))
    lines.append(("infection", f"{_burden(q.both)} of the lung (right {right[1]}; left {left[1]})"))
    if q.classes:
        lines += [("classes", _kind(q.classes, kind)) for kind in _KINDS]
    return lines


def _density(both: Burden) -> list[tuple[str, str]]:
    """What follows from HU, where there are any."""
    lines = []
    if both.pho_percent is not None:
        lines.append(("density", f"above {HIGH_OPACITY_ABOVE_HU} HU {both.pho_percent:.1f} % of the lung"))
    if both.infection_mean_hu is not None:
        lines.append(("", f"infection {both.infection_mean_hu:.0f} +- {both.infection_sd_hu:.0f} HU"))
    if both.mass_g is not None:
        lines.append(("mass", f"lungs {both.mass_g:.0f} g, infection {both.infection_mass_g:.0f} g"))
    return lines


def _flags(q: Quantification) -> list[tuple[str, str]]:
    warnings = [("WARNING", q.flag_texts[flag]) for flag in q.warnings]
    return warnings + [("note", text) for flag, text in q.flag_texts.items() if flag not in q.warnings]


def _side(q: Quantification, name: str) -> tuple[str, str]:
    """Lung and infection of one side, or why they are not given."""
    burden = q.right if name == "right" else q.left
    if burden is None:
        why = "not known" if q.reasons[name] == "side_unknown" else "no lung"
        return why, why
    return "" if burden.lung_ml is None else f"{burden.lung_ml:.0f}", _burden(burden)


_KINDS = {"ggo": "ground glass", "consolidation": "consolidation"}


def _kind(classes: Classes, kind: str) -> str:
    """One class of the infection, and by side."""
    whole, right, left = (_kind_in(classes, region, kind) for region in ("both", "right", "left"))
    return f"{_KINDS[kind]} {whole} of the infection (right {right}; left {left})"


def _kind_in(classes: Classes, region: str, kind: str) -> str:
    """One class in one region, or why it is not given."""
    burden: ClassBurden | None = getattr(classes, region)
    if burden is None:
        return "not known" if classes.reasons[region] == "side_unknown" else "no lung"
    share = f"{kind}_percent_of_infection"
    if classes.reasons.get(f"{region}.{share}") == "outside_the_picture":
        return "outside of the picture"
    ml, percent = getattr(burden, f"{kind}_ml"), getattr(burden, share)
    told = [] if ml is None else [f"{ml:.1f} ml"]
    return ", ".join([*told, f"{percent or 0:.1f} %"])


def _burden(burden: Burden) -> str:
    if burden.infection_percent is None:
        return "outside of the picture"
    ml = "" if burden.infection_ml is None else f"{burden.infection_ml:.1f} ml, "
    return f"{ml}{burden.infection_percent:.1f} %"
