"""Lungs by the network, held against those that thresholds find; with stand-ins for the network."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime import CtVolume, GeometryError, Intensity, measure_mask
from infnet_runtime.backends.lungs import LungNetwork
from infnet_runtime.lungs import find_lungs
from infnet_runtime.lungs.contract import LungManifest, LungSpec
from infnet_runtime.report.html import report_html
from infnet_runtime.report.text_and_json import measured_text, to_json, to_text
from infnet_runtime.segment.found_lungs import lungs_and_doubts
from tiny_models import dark_is_lung, mid_grey_detector

PHANTOM = chest_phantom()
SCAN = CtVolume(PHANTOM.hu, PHANTOM.affine, Intensity.HU, "phantom")
DENSE_FROM = 14  # slice; lung above it is made dense
MANIFEST = LungManifest(
    name="truth", version="1", licence="", training_data="", weights_sha256="", created_with={}
)


@dataclass
class Told:
    """A lung network that gives what it was told, slice by slice."""

    lungs: np.ndarray
    manifest: LungManifest = MANIFEST
    name: str = "truth 1"
    sha256: str = "00"
    done: int = 0

    def run(self, batch: np.ndarray) -> np.ndarray:
        first, self.done = self.done, self.done + len(batch)
        return np.stack([self._square(k, LungSpec().size) for k in range(first, self.done)])

    def _square(self, k: int, size: int) -> np.ndarray:
        import cv2

        from infnet_runtime.lungs.network import letterbox

        box = letterbox(*self.lungs.shape[1:], *PHANTOM.spacing_mm[1:], size)
        square = np.zeros((2, size, size), np.float32)
        for channel, side in enumerate((RIGHT, LEFT)):
            inner = square[channel, box.rows, box.columns]
            share = (self.lungs[k] == side).astype(np.float32)
            inner[:] = cv2.resize(share, inner.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return square


def found(scan: CtVolume, lungs: np.ndarray | None) -> tuple[np.ndarray, str, list[str]]:
    network = None if lungs is None else Told(lungs)
    mask, flags = lungs_and_doubts(scan, None, network, has_size=True)  # type: ignore[arg-type]
    return mask.to_lps(), mask.origin, [flag.name for flag in flags]


def dense() -> CtVolume:
    hu = PHANTOM.hu.copy()
    part = PHANTOM.lungs > 0
    part[:DENSE_FROM] = False
    hu[part] = 40
    return CtVolume(hu, PHANTOM.affine, Intensity.HU, "dense")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * int((a & b).sum()) / int(a.sum() + b.sum())


def test_where_both_ways_agree_there_is_no_flag_of_the_lungs() -> None:
    labels, origin, flags = found(SCAN, PHANTOM.lungs)
    assert origin == "network"
    assert not {"lung_mask_heuristic", "lungs_unsure", "dense_lung", "no_lung_found"} & set(flags)
    for side in (RIGHT, LEFT):
        assert dice(labels == side, PHANTOM.lungs == side) > 0.98  # through 160 pixels and back
    assert found(SCAN, None)[1] == "threshold"
    assert "lung_mask_heuristic" in found(SCAN, None)[2]


def test_dense_lung_is_found_by_the_network_alone_and_flagged() -> None:
    lost, _, _ = found(dense(), None)
    assert not lost[DENSE_FROM:].any()
    labels, _, flags = found(dense(), PHANTOM.lungs)
    assert dice(labels > 0, PHANTOM.lungs > 0) > 0.98
    assert "dense_lung" in flags
    assert "lungs_unsure" not in flags


def test_a_white_lung_keeps_its_side() -> None:
    hu = np.where(PHANTOM.lungs == RIGHT, 40, PHANTOM.hu).astype(np.int16)
    scan = CtVolume(hu, PHANTOM.affine, Intensity.HU, "white")
    assert "lung_missing" in found(scan, None)[2]
    labels, _, flags = found(scan, PHANTOM.lungs)
    assert "dense_lung" in flags
    assert not {"lung_missing", "lung_far_smaller"} & set(flags)
    assert np.count_nonzero(labels == RIGHT) > np.count_nonzero(labels == LEFT)


def test_lung_that_the_network_misses_makes_it_unsure() -> None:
    missed = PHANTOM.lungs.copy()
    missed[DENSE_FROM:] = 0
    labels, _, flags = found(SCAN, missed)
    assert not labels[DENSE_FROM + 1 :].any()
    assert "lungs_unsure" in flags
    assert "dense_lung" not in flags


def test_where_the_network_finds_nothing_there_is_no_lung_and_a_flag() -> None:
    labels, origin, flags = found(SCAN, np.zeros_like(PHANTOM.lungs))
    assert not labels.any()
    assert origin == "network"
    assert flags[:2] == ["lungs_unsure", "no_lung_found"]
    hu = np.where(PHANTOM.lungs > 0, 40, PHANTOM.hu).astype(np.int16)
    body = CtVolume(hu, PHANTOM.affine, Intensity.HU, "body")
    assert found(body, np.zeros_like(PHANTOM.lungs))[2][:1] == ["no_lung_found"]


def test_a_body_that_lies_the_wrong_way_is_refused_whatever_the_network_finds() -> None:
    turned = np.ascontiguousarray(PHANTOM.hu[:, ::-1])
    scan = CtVolume(turned, PHANTOM.affine, Intensity.HU, "turned")
    for lungs in (PHANTOM.lungs[:, ::-1], np.zeros_like(PHANTOM.lungs)):
        with pytest.raises(GeometryError, match="bone as in a spine lies at the front"):
            found(scan, lungs)


def test_the_lungs_lie_in_the_memory_that_was_given() -> None:
    out = np.full(SCAN.voxels.shape, 7, np.uint8)
    mask, _ = lungs_and_doubts(SCAN, None, Told(PHANTOM.lungs), has_size=True, out=out)  # type: ignore[arg-type]
    assert np.shares_memory(mask.labels, out)
    assert np.array_equal(mask.to_lps(), found(SCAN, PHANTOM.lungs)[0])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFNET_LUNG_MODEL", str(dark_is_lung(tmp_path / "lungs.onnx")))
    return mid_grey_detector(tmp_path / "model.onnx")


@pytest.mark.parametrize("way", ["auto", "network", "threshold"])
def test_reports_name_what_found_the_lungs(files: Path, way: str) -> None:
    expected = "threshold" if way == "threshold" else "network"
    words = "found by threshold" if way == "threshold" else "found by infnet's lung network"
    with infnet_runtime.load(files, device="cpu", threads=1, lungs_by=way) as model:
        result = model.predict(SCAN)
    measured = measure_mask(SCAN, result.mask, lungs_by=way)
    for one in (result, measured):
        assert one.provenance.lungs == expected
        assert one.provenance.lung_model.startswith("dark-is-lung 1, SHA-256 ") == (expected == "network")
        assert words in report_html(one).replace("&#x27;", "'")
        assert ("lung_mask_heuristic" in one.quantification.flags) == (expected == "threshold")
    assert json.loads(to_json(result, outputs={}))["provenance"]["lungs"] == expected
    assert f"), {words}\n" in to_text(result, files=[])
    assert words in measured_text(measured)
    assert np.array_equal(measured.lungs, result.lungs)


def test_given_lungs_and_thresholds_open_no_network(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LungNetwork, batch: np.ndarray) -> np.ndarray:
        raise AssertionError("it ran")

    monkeypatch.setattr(LungNetwork, "run", refuse)
    with infnet_runtime.load(files, device="cpu", threads=1) as model:
        assert model.predict(SCAN, lungs=PHANTOM.lungs).provenance.lungs == "given"
        with pytest.raises(AssertionError, match="it ran"):
            model.predict(SCAN)
    with infnet_runtime.load(files, device="cpu", threads=1, lungs_by="threshold") as model:
        assert model.predict(SCAN).provenance.lungs == "threshold"
    assert measure_mask(SCAN, PHANTOM.infection, lungs=PHANTOM.lungs).provenance.lungs == "given"


def test_a_stream_finds_the_lungs_of_the_whole(files: Path) -> None:
    with infnet_runtime.load(files, device="cpu", threads=1) as model:
        expected = model.predict(SCAN)
        with model.stream(SCAN.grid, dtype="int16") as stream:
            for k in reversed(range(len(PHANTOM.hu))):
                stream.push(k, PHANTOM.hu[k])
            result = stream.finish()
    assert result.provenance.lungs == "network"
    assert np.array_equal(result.lungs, expected.lungs)
    assert np.array_equal(result.mask, expected.mask)
    assert result.quantification == expected.quantification
    assert not np.array_equal(result.lungs, find_lungs(PHANTOM.hu, PHANTOM.spacing_mm, Intensity.HU))
