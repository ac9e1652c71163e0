"""Calibration: known temperatures are found again, and applying one changes probabilities and no mask."""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import infnet_runtime
from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity, Segmentation
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import InputError
from infnet_runtime.metrics.reliability import LabelledPixels, fit_temperature, pooled, reliability
from infnet_runtime.model.manifest import OutputSpec
from infnet_runtime.slices.preprocess import from_network, predict_slice, resize
from infnet_runtime.slices.temperature import network_threshold, with_temperature
from tiny_models import MANIFEST, SPEC, mid_grey_detector

PIXELS = 400_000
# T of eight drawings of the labels scattered by 0.33 % (standard deviation); four times that.
DRAWN = 0.013
# ECE of perfect probabilities on drawn labels: sampling alone gave 0.0014 to 0.0023 in eight drawings.
SAMPLED_ECE = 0.004
# Two steps of float32 below 1, and the cut of logits at 1e-7.
FLOAT32_STEP = 2e-7


def sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)), np.float64)


def calibrated_logits(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Logits, and labels drawn with exactly their probabilities."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 2, PIXELS)
    return logit, rng.random(PIXELS) < sigmoid(logit)


def shown(probability: npt.NDArray[np.floating], infected: npt.NDArray[np.bool_]) -> LabelledPixels:
    return LabelledPixels(probability.astype(np.float64), infected)


@pytest.mark.parametrize("sharpened_by", [0.4, 1.0, 1.7, 3.0])
def test_a_known_temperature_is_found_again(sharpened_by: float) -> None:
    logit, infected = calibrated_logits(0)
    pixels = shown(sigmoid(logit * sharpened_by).astype(np.float32), infected)
    temperature = fit_temperature(pixels)
    # Sharpened three times, 1.5 % of the logits are cut at 16.1, which moves T by 0.06 %.
    assert temperature == pytest.approx(sharpened_by, rel=DRAWN)
    after = reliability(pixels, temperature=temperature)
    assert after.ece < SAMPLED_ECE
    if sharpened_by != 1:
        before = reliability(pixels)
        assert before.ece > 5 * SAMPLED_ECE
        assert before.nll > after.nll
        assert before.brier > after.brier


def test_the_fit_is_the_minimum() -> None:
    logit, infected = calibrated_logits(1)
    pixels = shown(sigmoid(2.2 * logit), infected)
    best = fit_temperature(pixels)
    lowest = reliability(pixels, temperature=best).nll
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert reliability(pixels, temperature=best * factor).nll > lowest


def test_calibrated_probabilities_have_no_calibration_error_and_shifted_ones_do() -> None:
    logit, infected = calibrated_logits(2)
    assert reliability(shown(sigmoid(logit), infected)).ece < SAMPLED_ECE
    # Twin: an error that no temperature makes is seen too.
    assert reliability(shown(sigmoid(logit + 1), infected)).ece > 0.1


def test_reliability_by_hand() -> None:
    probability = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    infected = np.array([False, True, False, True, True])
    result = reliability(shown(probability, infected), bins=4)
    assert [b.pixels for b in result.bins] == [1, 1, 1, 2]  # the last bin includes 1
    assert [(b.low, b.high) for b in result.bins] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert result.bins[3].mean_probability == pytest.approx(0.875)
    assert result.bins[3].infected_fraction == 1
    assert result.ece == pytest.approx((0 + 0.75 + 0.5 + 2 * 0.125) / 5)
    assert result.brier == pytest.approx((0 + 0.75**2 + 0.5**2 + 0.25**2 + 0) / 5)
    # 0 and 1 are cut at 1e-7, so both right ones cost next to nothing.
    assert result.nll == pytest.approx(-(np.log(0.25) + np.log(0.5) + np.log(0.75)) / 5, rel=1e-6)
    empty = reliability(shown(np.array([0.1, 0.9]), np.array([False, True])), bins=3).bins[1]
    assert (empty.pixels, empty.mean_probability, empty.infected_fraction) == (0, None, None)


def test_a_saturated_mistake_costs_a_finite_amount() -> None:
    wrong = reliability(shown(np.array([0.0, 1.0]), np.array([True, False])))
    assert wrong.nll == pytest.approx(-np.log(1e-7), rel=1e-6)


def test_slices_of_any_size_are_pooled_where_pixels_count() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random((4, 5)).astype(np.float32), rng.random((2, 3)).astype(np.float32)
    where = np.zeros((2, 3), np.bool_)
    where[1, 2] = True
    pixels = pooled([(first, first > 0.5, None), (second, second > 0.5, where)])
    assert pixels.probability.tolist() == [*first.ravel().tolist(), float(second[1, 2])]
    assert np.array_equal(pixels.infected, pixels.probability > 0.5)


def test_temperature_1_is_not_computed() -> None:
    probability = np.random.default_rng(4).random((3, 7, 5), np.float32)
    probability[0, 0, :2] = 0, 1e-9
    assert with_temperature(probability, 1.0) is probability
    # Twin: computed, it would not be the same bits, because logits are cut.
    near = with_temperature(probability, 1 + 1e-12)
    assert not np.array_equal(near, probability)
    assert np.abs(near - probability).max() < FLOAT32_STEP
    resized = from_network(probability, 9, 11)
    assert np.array_equal(from_network(probability, 9, 11, temperature=1.0), resized)
    assert np.array_equal(resized, resize(probability, 9, 11))


@pytest.mark.parametrize("temperature", [5e-324, 1e-3, 0.3, 0.999, 1.001, 1.7, 100.0, 1e300])
def test_scaling_keeps_order_range_and_the_side_of_one_half(temperature: float) -> None:
    half = np.float32(0.5)
    around = [np.nextafter(half, np.float32(0)), half, np.nextafter(half, np.float32(1))]
    probability = np.sort(
        np.concatenate([np.random.default_rng(5).random(1000, np.float32), around, [0, 1]]).astype(np.float32)
    )
    scaled = with_temperature(probability, temperature)
    assert scaled.dtype == np.float32
    assert (np.diff(scaled) >= 0).all()
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    assert np.array_equal(scaled >= 0.5, probability >= 0.5)


def test_scaling_back_gives_the_probabilities_again() -> None:
    probability = np.random.default_rng(6).random(1000, np.float32)
    back = with_temperature(with_temperature(probability, 1.7), 1 / 1.7)
    assert np.abs(back - probability).max() < 2 * FLOAT32_STEP


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_threshold_of_the_network_marks_the_same(temperature: float) -> None:
    probability = np.random.default_rng(7).random(10_000, np.float32)
    own = network_threshold(0.3, temperature)
    assert np.array_equal(probability >= own, with_temperature(probability, temperature) >= 0.3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_mean_nothing_are_refused(temperature: float) -> None:
    message = f"INF-3194.*temperature is {temperature}, expected a finite number above 0"
    pixels = shown(np.array([0.2, 0.8]), np.array([False, True]))
    with pytest.raises(InputError, match=message):
        with_temperature(np.zeros(2, np.float32), temperature)
    with pytest.raises(InputError, match=message):
        reliability(pixels, temperature=temperature)
    with pytest.raises(InputError, match=message):
        network_threshold(0.5, temperature)


def test_pixels_that_cannot_be_compared_are_refused() -> None:
    truth = np.array([[True, False]])
    good = np.array([[0.5, 0.5]], np.float32)
    with pytest.raises(InputError, match="INF-3190.*there is no slice, expected at least one"):
        pooled([])
    with pytest.raises(InputError, match=r"prediction has shape \(1, 3\), the truth \(1, 2\)"):
        pooled([(np.zeros((1, 3), np.float32), truth, None)])
    with pytest.raises(InputError, match="where pixels count: the prediction has shape"):
        pooled([(good, truth, np.ones((2, 1), np.bool_))])
    with pytest.raises(InputError, match=r"reaches from 0\.5 to 1\.5"):
        pooled([(good * [1, 3], truth, None)])
    with pytest.raises(InputError, match="NaN or infinite"):
        pooled([(good * np.nan, truth, None)])
    with pytest.raises(InputError, match="fewer than 2 pixels"):
        pooled([(good, truth, np.zeros((1, 2), np.bool_))])
    with pytest.raises(InputError, match="INF-3191.*0 bins, expected 1 or more"):
        reliability(pooled([(good, truth, None)]), bins=0)


def test_labels_that_fix_no_temperature_are_refused() -> None:
    probability = np.array([0.1, 0.2, 0.7, 0.9])
    with pytest.raises(InputError, match="0 of 4 pixels are infected, a temperature needs both"):
        fit_temperature(shown(probability, np.zeros(4, np.bool_)))
    with pytest.raises(InputError, match="4 of 4 pixels are infected"):
        fit_temperature(shown(probability, np.ones(4, np.bool_)))
    for labels in (probability > 0.5, probability < 0.5):  # without a fault, and all wrong
        with pytest.raises(InputError, match="INF-3193.*no temperature from 0.05 to 20 is best"):
            fit_temperature(shown(probability, labels))


def predicted(folder: Path, output: OutputSpec) -> Segmentation:
    """The phantom through a soft detector, so that many probabilities lie between 0 and 1."""
    manifest = dataclasses.replace(MANIFEST, outputs=(output,)).to_json()
    model = mid_grey_detector(folder / f"{output.temperature}.onnx", manifest=manifest, gain=20)
    phantom = chest_phantom()
    with infnet_runtime.load(model, device="cpu", threads=1) as segmenter:
        return segmenter.predict(
            CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom"), keep_probability=True
        )


def test_the_runtime_scales_probabilities_and_marks_the_same_voxels(tmp_path: Path) -> None:
    plain = predicted(tmp_path, OutputSpec())
    assert plain.provenance.temperature == 1
    assert plain.mask.any()
    assert plain.probability is not None
    for temperature in (0.5, 1.7, 4.0):
        result = predicted(tmp_path, OutputSpec(temperature=temperature))
        assert np.array_equal(result.mask, plain.mask)
        assert result.quantification == plain.quantification
        assert result.provenance.temperature == temperature
        assert result.probability is not None
        run = plain.probability > 0  # 0 too where the network did not run
        expected = with_temperature(plain.probability[run].astype(np.float32), temperature)
        # float16 keeps 11 bits of both, and a temperature below 1 stretches the difference.
        assert np.abs(result.probability[run] - expected).max() < 2e-3
        assert np.abs(result.probability[run] - plain.probability[run].astype(np.float32)).max() > 0.05


def test_other_thresholds_are_on_the_calibrated_probability(tmp_path: Path) -> None:
    low = predicted(tmp_path, OutputSpec(thresholds=(0.3,), temperature=3.0))
    low_plain = predicted(tmp_path, OutputSpec(thresholds=(0.3,)))
    assert low.mask.sum() > low_plain.mask.sum()  # 0.3 after scaling is 0.07 before
    same = predicted(tmp_path, OutputSpec(thresholds=(network_threshold(0.3, 3.0),)))
    assert np.array_equal(same.mask, low.mask)


def test_scaling_before_the_resize_would_move_the_mask() -> None:
    """Why the temperature stands behind the resize."""
    own = np.where(np.random.default_rng(8).random((1, 32, 32)) < 0.5, 0.999, 0.25).astype(np.float32)
    behind = from_network(own, 50, 60, temperature=3.0) >= 0.5
    assert np.array_equal(behind, from_network(own, 50, 60) >= 0.5)
    before = resize(with_temperature(own, 3.0), 50, 60) >= 0.5
    assert (before != behind).any()


def test_a_slice_alone_is_scaled_the_same_way() -> None:
    grey = np.random.default_rng(9).integers(0, 256, (40, 50)).astype(np.uint8)

    def run(batch: FloatArray) -> FloatArray:
        return np.asarray(sigmoid(batch[:, 0].astype(np.float64)), np.float32)

    plain, scaled = (predict_slice(grey, SPEC, run, temperature=t) for t in (1.0, 2.0))
    assert np.array_equal(plain, predict_slice(grey, SPEC, run))
    assert np.array_equal(scaled, with_temperature(plain, 2.0))
