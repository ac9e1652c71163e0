"""A scan whose numbers need a slope and an intercept, against the same scan converted before."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import infnet_runtime
from builders import chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, Segmentation, Segmenter
from infnet_runtime.arrays import AnyArray
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.report.montage import montage_png
from infnet_runtime.scan.rescaled import Rescaled, rescaled
from tiny_models import mid_grey_detector

PHANTOM = chest_phantom()
# uint16 as scanners have it; 12 bits in steps of half; coarse bytes; a double; padding far below air.
SCALINGS = [
    ("u2", 1.0, -1024.0, "SPL"),
    (">u2", 1.0, -8192.0, "LAS"),
    ("i2", 0.5, -24.0, "LAS"),
    ("u1", 12.0, -1030.5, "IRA"),
    ("f8", 1.0, 0.0, "SPL"),
    ("i4", 1.0, 100.0, "IRA"),
]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    model = mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with infnet_runtime.load(model, device="cpu", threads=1) as loaded:
        yield loaded


def stored_and_values(hu: AnyArray, kind: str, slope: float, intercept: float) -> tuple[AnyArray, AnyArray]:
    """Numbers of a type that stand for about these HU, and the values, made in one piece."""
    stored = np.rint((hu - intercept) / slope).astype(kind)
    whole = stored.dtype.kind in "iu" and slope == 1
    return stored, (stored.astype(np.float64) * slope + intercept).astype(np.int16 if whole else np.float32)


def same(found: Segmentation, expected: Segmentation) -> None:
    for name in ("mask", "lungs", "probability"):
        of_found, of_expected = getattr(found, name), getattr(expected, name)
        assert of_found.dtype == of_expected.dtype
        assert of_found.tobytes() == of_expected.tobytes(), name
    assert found.quantification == expected.quantification
    assert found.slices == expected.slices
    assert replace(found.provenance, seconds={}) == replace(expected.provenance, seconds={})
    assert montage_png(found) == montage_png(expected)


@pytest.mark.parametrize(("kind", "slope", "intercept", "code"), SCALINGS)
def test_it_is_the_same_scan(
    kind: str, slope: float, intercept: float, code: str, segmenter: Segmenter
) -> None:
    hu, affine = reorient(PHANTOM.hu.clip(-1000), PHANTOM.spacing_mm, code)
    stored, values = stored_and_values(hu, kind, slope, intercept)
    stored.setflags(write=False)
    scan = rescaled(stored, slope, intercept, source="scan")
    assert isinstance(scan, Rescaled)
    assert decide_intensity(scan, source="scan") is decide_intensity(values, source="scan") is Intensity.HU
    of_scan, expected = (
        segmenter.predict(CtVolume(v, affine, Intensity.HU, "scan"), keep_probability=True)
        for v in (scan, values)
    )
    assert expected.mask.any()
    same(of_scan, expected)


def test_given_lungs_and_values_beyond_16_bits_are_the_same(segmenter: Segmenter) -> None:
    hu = PHANTOM.hu.astype(np.int32)
    hu[:, :2, :2] = -100_000  # padding as a faulty export has it
    volumes = [
        CtVolume(v, PHANTOM.affine, Intensity.HU, "scan")
        for v in (rescaled((hu + 100_000).astype(np.uint32), 1, -100_000, source="scan"), hu)
    ]
    assert volumes[0].voxels.dtype == np.int32
    same(*(segmenter.predict(v, lungs=PHANTOM.lungs, keep_probability=True, fast=True) for v in volumes))


def test_grey_that_is_scaled_is_the_same(segmenter: Segmenter) -> None:
    noise = np.random.default_rng(0).integers(-3, 4, PHANTOM.hu.shape)
    grey = np.clip((PHANTOM.hu + 1250.0) / 1500 * 250 + noise, 0, 250).round()
    stored = (grey + 500).astype(np.uint16)
    scan = rescaled(stored, 1, -500, source="scan")
    assert decide_intensity(scan, source="scan") is Intensity.WINDOWED
    same(
        *(
            segmenter.predict(CtVolume(v, PHANTOM.affine, Intensity.WINDOWED, "scan"), keep_probability=True)
            for v in (scan, grey.astype(np.int16))
        )
    )


@pytest.mark.slow
def test_no_second_volume_is_made(segmenter: Segmenter) -> None:
    # Larger than the sample of the survey, which takes values of its own.
    made = chest_phantom((96, 160, 192), (2.5, 2.4, 2.0))
    hu, affine = reorient(made.hu.clip(-1000), made.spacing_mm, "LAS")

    def peak(stored: AnyArray, slope: float, intercept: float) -> int:
        tracemalloc.start()
        try:
            voxels = rescaled(stored, slope, intercept, source="scan")
            segmenter.predict(CtVolume(voxels, affine, Intensity.HU, "scan"), batch_size=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    plain = peak(hu, 1, 0)
    for stored, slope, intercept in (((hu + 1024).astype(np.uint16), 1, -1024), (2 * hu, 0.5, 0)):
        # Measured 0; a volume would be 2 or 4 bytes a voxel.
        assert peak(stored, slope, intercept) - plain < 0.1 * stored.size
