"""Masks from coarse logits: what the needed part of them gives is what all of them give, to the bit."""

from pathlib import Path

import numpy as np
import pytest

from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity, Segmenter, load
from infnet_runtime.backends import open_session
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import from_network
from tiny_models import COARSE, MANIFEST, coarse_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coarse_detector(tmp_path_factory.mktemp("models") / "model.onnx")


@pytest.fixture(scope="module")
def scan() -> CtVolume:
    phantom = chest_phantom()
    return CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")


def mask_of_everything(path: Path, scan: CtVolume, backend: str) -> np.ndarray:
    """All slices one by one, everything enlarged, everything compared."""
    spec, voxels = MANIFEST.preprocess, scan.to_lps()
    looked_at = region(lungs_of(scan, None)[0], scan.grid, spec.crop_margin_mm)
    box, mask = (looked_at.rows, looked_at.columns), np.zeros(voxels.shape, np.uint8)
    with open_session(path, backend=backend, device="cpu", coarse=True) as session:
        assert session.coarse == COARSE
        for k in looked_at.slices:
            batch = volume_to_network(
                voxels, [k], box, scan.intensity, spec, spacing_mm=scan.lps_spacing_mm[0]
            )
            own = infection_probability(session, batch)
            probability = from_network(own, *looked_at.box_shape, temperature=MANIFEST.output.temperature)
            mask[k, *box] = (probability[0] >= MANIFEST.output.threshold) & (looked_at.inside[k, *box] > 0)
    return np.asarray(scan.from_lps(mask))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_mask_is_that_of_everything_enlarged(
    model: Path, scan: CtVolume, backend: str, threads: int
) -> None:
    pytest.importorskip(backend)
    with load(
        model, device="cpu", backend=backend, threads=threads, lungs_by="threshold"
    ) as segmenter:  # as the reference
        found = segmenter.predict(scan)
        with_probabilities = segmenter.predict(scan, keep_probability=True, batch_size=3)
    assert found.mask.any()
    assert np.array_equal(found.mask, mask_of_everything(model, scan, backend))
    assert np.array_equal(with_probabilities.mask, found.mask)
    assert with_probabilities.quantification == found.quantification
    assert with_probabilities.probability is not None
    assert (with_probabilities.probability[found.mask > 0] >= 0.499).all(), "rounded to half precision"


def test_it_is_that_of_a_file_without_them(model: Path, scan: CtVolume, tmp_path: Path) -> None:
    plain = coarse_detector(tmp_path / "plain.onnx", coarse=False)
    with load(model, device="cpu") as one, load(plain, device="cpu") as other:
        found, expected = one.predict(scan).mask, other.predict(scan).mask
    # On the phantom no probability is so near the threshold that another order of rounding shows.
    assert np.array_equal(found, expected)


def test_a_segmenter_takes_a_session_of_either_kind(model: Path, scan: CtVolume) -> None:
    masks = []
    for coarse in (False, True):
        with Segmenter(open_session(model, device="cpu", coarse=coarse)) as segmenter:
            masks.append(segmenter.predict(scan).mask)
    assert np.array_equal(*masks)
