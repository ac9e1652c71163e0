"""Every report is as the published schema says, and each null in it has its reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import with_classes
from infnet_runtime.measure.slices import findings
from infnet_runtime.model.specs import CLASS_OUTPUT
from infnet_runtime.report.text_and_json import to_document
from quantified import check_report, schema

PHANTOM = chest_phantom((12, 36, 48), (20.0, 9.0, 8.0))
PROVENANCE = Provenance(
    "0", "m", "1", "ab", "b", "fp32", "cpu", 0.5, 1.0, "given", 4, False, 2, 0, 0, {"read": 0.1}
)


def result_of(
    lungs: np.ndarray = PHANTOM.lungs,
    infection: np.ndarray = PHANTOM.infection,
    *,
    has_size: bool = True,
    intensity: Intensity = Intensity.HU,
    with_lobes: bool = False,
    with_kinds: bool = False,
    keep_slices: slice = slice(None),
) -> Segmentation:
    lungs, hu = lungs[keep_slices], PHANTOM.hu[keep_slices]
    mask = (infection[keep_slices] & (lungs > 0)).astype(np.uint8)
    if intensity is Intensity.WINDOWED:
        hu = np.clip((hu + 1000) // 4, 0, 255).astype(np.uint8)
    volume = CtVolume(hu, PHANTOM.affine, intensity, "scan.nii", has_size=has_size)
    lobes = np.array([0, 3, 1], np.uint8)[np.minimum(lungs, 2)]
    lobes[: len(lobes) // 2] += np.array([0, 2, 1], np.uint8)[np.minimum(lungs, 2)][: len(lobes) // 2]
    lobes[len(lobes) // 2][lobes[len(lobes) // 2] == 3] = 4
    q = quantify(
        mask,
        lungs,
        volume.grid.voxel_ml,
        hu=volume.to_lps() if intensity is Intensity.HU else None,
        lobes=lobes if with_lobes else None,
        slice_mm=volume.grid.slice_mm,
        infection_ml_band={"0.3": 2.0, "0.5": 1.5, "0.7": 0.0} if with_kinds else None,
    )
    classes = None
    if with_kinds:
        classes = mask * np.uint8(2)
        q = with_classes(q, classes, lungs, volume.grid.voxel_ml, labels=CLASS_OUTPUT.labels)
    found = findings(mask, lungs, volume.grid.pixel_mm2, z_mm=volume.grid.slice_z_mm)
    return Segmentation(volume, mask, lungs, q, PROVENANCE, None, classes, found)


CASES = {
    "volume": result_of(),
    "volume with lobes and classes": result_of(with_lobes=True, with_kinds=True),
    "windowed volume": result_of(intensity=Intensity.WINDOWED, with_lobes=True),
    "picture": result_of(has_size=False, intensity=Intensity.WINDOWED, keep_slices=slice(6, 7)),
    "HU without a size": result_of(has_size=False, with_lobes=True),
    "two slices": result_of(keep_slices=slice(5, 7)),
    "nothing found": result_of(infection=np.zeros_like(PHANTOM.infection), with_lobes=True, with_kinds=True),
    "no lung": result_of(np.zeros_like(PHANTOM.lungs)),
    "no lung with lobes and classes": result_of(
        np.zeros_like(PHANTOM.lungs), with_lobes=True, with_kinds=True
    ),
    "one lung": result_of(np.where(PHANTOM.lungs == RIGHT, RIGHT, 0).astype(np.uint8), with_kinds=True),
    "a lung of unknown side": result_of(np.where(PHANTOM.lungs > 0, 3, 0).astype(np.uint8)),
    "a lung white as a whole": result_of(infection=PHANTOM.lungs == LEFT, with_lobes=True),
}


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_as_the_schema_says(name: str) -> None:
    document = json.loads(json.dumps(to_document(CASES[name], outputs={"mask": "m.nii.gz"}), allow_nan=False))
    check_report(document)


def test_the_schema_is_one_and_refuses_what_it_does_not_know() -> None:
    Draft202012Validator.check_schema(schema())
    document = to_document(CASES["volume"], outputs={})
    document = json.loads(json.dumps(document))
    check_report(document)
    for change in (
        lambda d: d["quantification"]["both"].update(infection_ml="12"),
        lambda d: d["quantification"]["both"].pop("pho_percent"),
        lambda d: d["quantification"]["both"].update(volume=3),
        lambda d: d["quantification"]["reasons"].update(left="because"),
        lambda d: d.update(schema="infnet.quantification/1"),
    ):
        changed = json.loads(json.dumps(document))
        change(changed)
        with pytest.raises(ValidationError):
            check_report(changed)


def test_a_null_without_a_reason_is_seen() -> None:
    result = CASES["volume"]
    silent = replace(result.quantification, infection_outside_lungs_ml=None)
    document = to_document(replace(result, quantification=silent), outputs={})
    with pytest.raises(AssertionError):
        check_report(json.loads(json.dumps(document)))
