"""The slices that forms of a network are compared on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom, write_nifti
from infnet_runtime.errors import InputError
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.segment.sampled import phantom_slices, scan_input
from infnet_runtime.segment.segmenter import Segmenter
from infnet_runtime.slices.preprocess import to_grey
from tiny_models import MANIFEST


def test_phantoms_are_seeded_and_differ() -> None:
    first = phantom_slices(3, 64)
    np.testing.assert_array_equal(first, phantom_slices(3, 64))
    assert np.abs(first[0] - first[1]).max() > 100
    assert -1200 < first.min() < -900
    assert 300 < first.max() < 600


def test_scans_of_a_folder(tmp_path: Path) -> None:
    spec = PreprocessSpec(size=64)
    grey = np.rint(to_grey(phantom_slices(2, 80), Intensity.HU, spec) * 255).astype(np.uint8)
    for i, image in enumerate(grey):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    (tmp_path / "notes.txt").write_text("not a slice")
    found, names = scan_input(tmp_path, spec)
    alone = [scan_input(tmp_path / name, spec)[0] for name in ("0.png", "1.png")]
    np.testing.assert_array_equal(found, np.concatenate(alone))
    assert names == ["0.png", "1.png"]


def test_slices_of_a_volume_are_those_that_the_segmenter_sends_to_the_network(tmp_path: Path) -> None:
    phantom = chest_phantom((12, 72, 96), (20.0, 4.5, 4.0))
    write_nifti(tmp_path / "scan.nii.gz", phantom.hu, phantom.affine)
    sent: list[np.ndarray] = []

    class Watched:
        manifest = MANIFEST
        backend, device, model_sha256, batch_size = "watched", "cpu", "", 1
        coarse, precision = None, "float32"

        def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
            sent.extend(batch)
            return {"infection_probability": np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)}

    Segmenter(Watched(), threads=1).predict(tmp_path / "scan.nii.gz")  # type: ignore[arg-type]
    found, names = scan_input(tmp_path / "scan.nii.gz", MANIFEST.preprocess)
    assert len(found) == min(8, len(sent)) == len(names)
    everything = {slice_.tobytes() for slice_ in sent}
    assert all(slice_.tobytes() in everything for slice_ in found)
    assert names[0] == "scan.nii.gz, slice 2 from the feet"


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="holds no slices to verify on; expected files that end with"
    ) as caught:
        scan_input(tmp_path, PreprocessSpec())
    assert (caught.value.code, caught.value.exit_code) == (3120, 3)
