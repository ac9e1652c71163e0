"""What a result says, with a size and without."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.flags import LUNGS_BY_THRESHOLD
from infnet_runtime.report.text_and_json import to_json, to_text


def result_of(*, has_size: bool) -> Segmentation:
    voxels = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    volume = CtVolume(
        voxels, np.diag([-1.0, -2.0, 5.0, 1.0]), Intensity.WINDOWED, "scan.nii", has_size=has_size
    )
    lungs = np.ones((2, 3, 4), np.uint8)
    lungs[:, :, 2:] = 2
    mask = np.zeros_like(lungs)
    mask[0, 0, 0] = 1
    provenance = Provenance(
        "0", "m", "1", "ab", "b", "int8 + bf16", "cpu", 0.5, 1.0, "given", 4, False, 2, 0, 0, {"read": 0.1}
    )
    return Segmentation(
        volume,
        volume.from_lps(mask),
        volume.from_lps(lungs),
        quantify(mask, lungs, volume.grid.voxel_ml, flags=(LUNGS_BY_THRESHOLD,)),
        provenance,
        None,
    )


def test_a_volume_has_millilitres_and_sides() -> None:
    document = json.loads(to_json(result_of(has_size=True), outputs={"mask": "mask.nii.gz"}))
    assert document["input"] == {
        "file": "scan.nii",
        "path": None,
        "sha256": None,
        "shape": [4, 3, 2],
        "spacing_mm": [1.0, 2.0, 5.0],
        "orientation": "LPS",
        "intensity": "windowed",
        "dicom": None,
    }
    both = document["quantification"]["both"]
    assert (round(both["lung_ml"], 6), round(both["infection_ml"], 6)) == (0.24, 0.01)
    assert document["outputs"] == {"mask": "mask.nii.gz"}
    assert document["provenance"]["seconds"] == {"read": 0.1}
    text = to_text(result_of(has_size=True), files=[Path("mask.nii.gz")])
    assert "scan.nii: 4 x 3 x 2, 1.00 x 2.00 x 5.00 mm, windowed" in text
    assert "network    m 1 in int8 + bf16, b on cpu" in text
    assert "note       lungs found by threshold" in text


def test_a_picture_has_shares_and_says_why_it_has_no_millilitres() -> None:
    document = json.loads(to_json(result_of(has_size=False), outputs={}))
    assert document["input"]["spacing_mm"] is None
    q = document["quantification"]
    assert q["both"]["lung_ml"] is q["both"]["infection_ml"] is None
    assert q["both"]["infection_percent"] == pytest.approx(100 / 24)
    assert (q["right"]["infection_percent"], q["left"]["infection_percent"]) == (pytest.approx(100 / 12), 0)
    for region in ("both", "right", "left"):
        for number in ("lung_ml", "infection_ml"):
            assert q["reasons"][f"{region}.{number}"] == "no_voxel_size"
        assert region not in q["reasons"]
    text = to_text(result_of(has_size=False), files=[])
    assert "no voxel size" in text
    assert "no millilitres: the input has no voxel size" in text
    assert "infection  4.2 % of the lung (right 8.3 %; left 0.0 %)" in text


@pytest.mark.parametrize(
    ("labels", "left"), [((0, 0), "no_lung"), ((1, 0), "no_lung"), ((3, 0), "side_unknown")]
)
def test_a_picture_without_a_lung_has_no_share_of_it(labels: tuple[int, int], left: str) -> None:
    picture = result_of(has_size=False)
    relabelled = np.array([0, *labels], np.uint8)[picture.lungs]
    q = quantify(np.zeros_like(relabelled), relabelled, None)
    assert q.left is None
    assert q.reasons["left"] == left
    assert (q.both is None) == (not any(labels))
    assert not q.has_size
    text = to_text(replace(picture, lungs=relabelled, quantification=q), files=[])
    assert ("0.0 % of the lung (right" in text) == any(labels)
    assert "no voxel size" in text


def test_a_lung_outside_of_the_picture_is_said_to_be() -> None:
    whole = result_of(has_size=True)
    only_right = np.ones((2, 3, 4), np.uint8)
    q = quantify(np.zeros_like(only_right), only_right, 0.01)
    text = to_text(replace(whole, quantification=q), files=[])
    assert "(right 0, left 0)" in text
    assert "left outside of the picture)" in text


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        ((1, 0), ["(right 0, left no lung)", "left no lung)"]),
        ((3, 0), ["(right not known, left not known)"]),
        ((0, 0), ["no millilitres and no share of the lung: no lung was found", "1.00 x 2.00 x 5.00 mm"]),
    ],
)
def test_what_is_not_there_is_no_zero(labels: tuple[int, int], lines: list[str]) -> None:
    whole = result_of(has_size=True)
    relabelled = np.array([0, *labels], np.uint8)[whole.lungs]
    in_lps = whole.volume.to_lps(relabelled)
    q = quantify(np.zeros_like(in_lps), in_lps, 0.01)
    result = replace(whole, lungs=relabelled, quantification=q)
    text = to_text(result, files=[])
    assert all(line in text for line in lines)
    assert "0.0 ml, no lung" not in text
    document = json.loads(to_json(result, outputs={}))
    assert document["input"]["spacing_mm"] == [1.0, 2.0, 5.0]
    assert document["quantification"]["left"] is None
