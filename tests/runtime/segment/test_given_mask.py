"""A given mask has the numbers of the run that made it; lobes, and the band of a run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, Segmenter, measure_mask
from infnet_runtime.backends.open import open_session
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.lungs.lobes import sides_of_lobes
from tiny_models import mid_grey_detector

PHANTOM = chest_phantom()
VOLUME = CtVolume(*reorient(PHANTOM.hu, PHANTOM.spacing_mm, "RIA"), Intensity.HU, "scan")


def in_the_order_of_the_scan(array: np.ndarray) -> np.ndarray:
    return reorient(array, PHANTOM.spacing_mm, "RIA")[0]


LUNGS = in_the_order_of_the_scan(PHANTOM.lungs)
_LOBES = np.where(PHANTOM.lungs == LEFT, 1, np.where(PHANTOM.lungs == RIGHT, 3, 0)).astype(np.uint8)
_LOBES[:10][_LOBES[:10] == 3] = 4
_LOBES[:9][_LOBES[:9] == 1] = 2
_LOBES[:7][_LOBES[:7] == 4] = 5
LOBES = in_the_order_of_the_scan(_LOBES)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    model: Path = mid_grey_detector(tmp_path_factory.mktemp("models") / "model.onnx")
    with Segmenter(open_session(model)) as opened:
        yield opened


def test_a_mask_measured_again_has_the_numbers_of_its_run(segmenter: Segmenter) -> None:
    result = segmenter.predict(VOLUME, lungs=LUNGS, lobes=LOBES)
    again = measure_mask(VOLUME, result.mask, lungs=LUNGS, lobes=LOBES)
    run, measured = result.quantification, again.quantification
    for name in ("both", "right", "left", "lobes", "scores", "zones", "hu_classes", "hu_histogram"):
        assert getattr(run, name) == getattr(measured, name), name
    assert run.both
    assert run.both.infection_ml
    assert run.lobes
    assert np.array_equal(again.mask, result.mask)
    assert [one.z_mm for one in again.slices] == [one.z_mm for one in result.slices]
    # What a network does wrongly with coarse pixels says nothing of another's mask.
    assert {"pixels_too_coarse", "slices_far_apart"} <= set(run.flags)
    assert not {"pixels_too_coarse", "slices_far_apart"} & set(measured.flags)


def test_lobes_alone_give_the_lungs(segmenter: Segmenter) -> None:
    for result in (
        segmenter.predict(VOLUME, lobes=LOBES),
        segmenter.predict_buffer(VOLUME.voxels, VOLUME.grid, lobes=LOBES),
        measure_mask(VOLUME, LUNGS == RIGHT, lobes=LOBES),
    ):
        assert np.array_equal(result.lungs, sides_of_lobes(LOBES))
        q = result.quantification
        assert q.lobes
        assert None not in q.lobes.values()
        assert "lobes_incomplete" not in q.flags
    assert (
        "lobes_incomplete"
        in measure_mask(
            VOLUME, LUNGS == RIGHT, lungs=LUNGS, lobes=np.where(LOBES == 5, 0, LOBES)
        ).quantification.flags
    )


def test_a_stream_takes_lobes(segmenter: Segmenter) -> None:
    expected = segmenter.predict(VOLUME, lobes=LOBES).quantification
    with segmenter.stream(VOLUME.grid, voxels=VOLUME.voxels, lobes=LOBES) as stream:
        for k in range(VOLUME.grid.lps_shape[0]):
            stream.push(k)
        assert stream.finish().quantification == expected


def test_lobes_on_another_grid_are_refused(segmenter: Segmenter) -> None:
    with pytest.raises(GeometryError, match="INF-3033"):
        segmenter.predict(VOLUME, lobes=LOBES[1:])


def test_the_band_is_that_of_the_probabilities(segmenter: Segmenter) -> None:
    result = segmenter.predict(VOLUME, lungs=LUNGS, keep_probability=True)
    assert result.probability is not None
    band = result.quantification.uncertainty.infection_ml_band
    both = result.quantification.both
    assert band
    assert both
    assert list(band) == ["0.3", "0.5", "0.7"]
    assert band["0.3"] > band["0.5"] > band["0.7"] > 0
    assert band["0.5"] == pytest.approx(both.infection_ml, rel=1e-12)
    for threshold, ml in band.items():
        marked = (result.probability >= np.float16(threshold)) & (
            result.lungs > 0
        )  # rounded to half a percent
        assert ml == pytest.approx(np.count_nonzero(marked) * VOLUME.voxel_volume_ml, rel=0.02)
    without = segmenter.predict(VOLUME, lungs=LUNGS).quantification
    assert without.uncertainty.infection_ml_band is None
    assert without.uncertainty.reasons["infection_ml_band"] == "probability_not_kept"
    assert result.quantification == without


@pytest.mark.parametrize("mask", [LUNGS.astype(np.int16) * 2, LUNGS > 0, (LUNGS == RIGHT).astype(np.float32)])
def test_whole_numbers_of_any_type_are_taken(mask: np.ndarray) -> None:
    if mask.max() > 2:
        with pytest.raises(InputError, match=r"INF-3331.*has the labels 0, 2, 4; expected 0 and 1"):
            measure_mask(VOLUME, mask, lungs=LUNGS)
        return
    both = measure_mask(VOLUME, mask, lungs=LUNGS).quantification.both
    assert both
    assert both.infection_ml == pytest.approx(PHANTOM.volume_ml(mask > 0))


def test_what_lies_outside_the_lungs_is_counted_apart() -> None:
    mask = np.ones(LUNGS.shape, np.uint8)
    q = measure_mask(VOLUME, mask, lungs=LUNGS).quantification
    assert q.both
    assert q.both.infection_percent == 100
    assert q.infection_outside_lungs_ml == pytest.approx(PHANTOM.volume_ml(LUNGS == 0))
    assert "infection_outside_lungs" in q.flags
    assert q.both.excess_mass_g is None
    assert q.reasons["both.excess_mass_g"] == "no_reference"
