"""The shipped lung network: dense lungs, sides, other parts of the body, and that backends agree."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom, reorient
from infnet_runtime import CtVolume, GeometryError, Intensity, read_dicom
from infnet_runtime.backends.candidates import ONNXRUNTIME, OPENVINO
from infnet_runtime.backends.lungs import LungNetwork, lung_network
from infnet_runtime.io import open_scan
from infnet_runtime.model.shipped import lung_model
from infnet_runtime.scan.phantom import ChestPhantom
from infnet_runtime.scan.realistic_chest import realistic_chest
from infnet_runtime.segment.found_lungs import lungs_and_doubts

SOFT_TISSUE_HU = 30
# Of lungs in pixels of 2.5 mm. Measured on the phantoms here: .96 and more with air, .90 and more dense.
DICE, DENSE_DICE = 0.94, 0.85
# Beside a white lung. Measured: 0.00001.
MOST_ON_THE_OTHER_SIDE = 0.001
# Rounding turns a voxel at the rim. Measured: none of 1.2 million.
DIFFERENT_VOXELS = 5


@cache
def chest() -> ChestPhantom:
    return realistic_chest((30, 170, 220), (9.0, 1.8, 1.8))


def found(scan: CtVolume, backend: str | None = None) -> tuple[np.ndarray, list[str]]:
    model = lung_model()
    assert model is not None, "no lung network is shipped"
    with lung_network("network") if backend is None else LungNetwork(model, backend) as network:  # type: ignore[union-attr]
        lungs, flags = lungs_and_doubts(scan, None, network, has_size=True)
    return lungs.to_lps(), [flag.name for flag in flags]


def volume(hu: np.ndarray) -> CtVolume:
    return CtVolume(hu, chest().affine, Intensity.HU, "phantom")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * int((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def white(part: np.ndarray) -> CtVolume:
    hu = chest().hu.copy()
    hu[part] = np.random.default_rng(0).normal(SOFT_TISSUE_HU, 20, int(part.sum())).astype(np.int16)
    return volume(hu)


@pytest.mark.parametrize("code", ["LPS", "RAS", "ASL", "IPR"])
def test_sides_are_those_of_the_patient_however_the_scan_is_stored(code: str) -> None:
    stored, affine = reorient(chest().hu, chest().spacing_mm, code)
    labels, flags = found(CtVolume(stored, affine, Intensity.HU, code))
    for side in (RIGHT, LEFT):
        assert dice(labels == side, chest().lungs == side) > DICE
        assert not np.any((labels == side) & (chest().lungs == RIGHT + LEFT - side))
    assert not {"lungs_unsure", "dense_lung", "lung_mask_heuristic", "lungs_cut"} & set(flags)


@pytest.mark.parametrize("intensity", list(Intensity))
def test_the_simple_phantom_keeps_its_lungs_and_its_lesion(intensity: Intensity) -> None:
    phantom = chest_phantom()
    voxels = phantom.hu
    if intensity is Intensity.WINDOWED:
        voxels = np.clip((phantom.hu + 1250.0) * (255 / 1500), 0, 255).astype(np.uint8)
    labels, flags = found(CtVolume(voxels, phantom.affine, intensity, "phantom"))
    for side in (RIGHT, LEFT):
        assert dice(labels == side, phantom.lungs == side) > DICE
    assert np.count_nonzero(phantom.infection & (labels == RIGHT)) > 0.98 * phantom.infection.sum()
    assert not {"lungs_unsure", "dense_lung"} & set(flags)


@pytest.mark.parametrize("which", ["right", "left", "lower third of both"])
def test_dense_lung_is_lung_on_its_own_side(which: str) -> None:
    lungs = chest().lungs
    part = lungs == {"right": RIGHT, "left": LEFT}.get(which, 0)
    if which == "lower third of both":
        part = lungs > 0
        part[len(lungs) // 3 :] = False
    labels, flags = found(white(part))
    assert dice(labels > 0, lungs > 0) > DENSE_DICE
    for side in (RIGHT, LEFT):
        other = np.count_nonzero((labels == side) & (lungs == RIGHT + LEFT - side))
        assert other < MOST_ON_THE_OTHER_SIDE * np.count_nonzero(labels == side)
    assert "dense_lung" in flags
    assert not {"lung_missing", "no_lung_found"} & set(flags)


def test_a_body_the_wrong_way_round_is_refused_as_before() -> None:
    with pytest.raises(GeometryError, match="bone as in a spine lies at the front"):
        found(volume(np.ascontiguousarray(chest().hu[:, ::-1])))


def test_backends_find_the_same_lungs() -> None:
    for backend in (ONNXRUNTIME, OPENVINO):
        pytest.importorskip(backend)
    scan = white(chest().lungs == RIGHT)
    one, other = (found(scan, backend)[0] for backend in (ONNXRUNTIME, OPENVINO))
    assert np.count_nonzero(one != other) <= DIFFERENT_VOXELS


@pytest.mark.data
@pytest.mark.parametrize(
    "place", ["dicom-edge-cases/jpeg2000-upper-abdomen", "dicom-field/_truth/philips_cd.nii.gz"]
)
def test_an_abdomen_and_a_head_have_no_lung(place: str, data_root: Path) -> None:
    path = data_root / place
    scan = read_dicom(path).volume if path.is_dir() else open_scan(path).volume
    labels, flags = found(scan)
    assert not labels.any()
    assert "no_lung_found" in flags


@pytest.mark.data
def test_a_cyst_of_a_kidney_that_is_taken_for_lung_is_told(data_root: Path) -> None:
    scan = read_dicom(data_root / "lidc-idri-dicom/LIDC-IDRI-0001").volume
    flags = found(scan)[1]
    assert "lungs_too_low" in flags
    assert not {"lungs_unsure", "dense_lung"} & set(flags)
