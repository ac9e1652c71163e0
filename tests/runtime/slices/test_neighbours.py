"""Neighbours as channels: the planes that lie at the distance, whatever is asked for together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from builders import chest_phantom
from infnet_runtime import CtVolume, Intensity
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.segment.result import Segmentation
from infnet_runtime.slices.neighbours import volume_to_network
from infnet_runtime.slices.preprocess import to_network
from tiny_models import MANIFEST, mid_grey_detector

EQUAL = PreprocessSpec(size=32)
NEIGHBOURS = PreprocessSpec(size=32, channels="neighbours", neighbour_step_mm=5.0)
PLANES = 12
BOX = (slice(3, 30), slice(5, 40))
# Plane k is grey k everywhere.
NUMBERED = np.broadcast_to(np.arange(PLANES, dtype=np.uint8)[:, None, None], (PLANES, 40, 48))


def planes_of(picked: slice | list[int], spacing_mm: float, spec: PreprocessSpec = NEIGHBOURS) -> np.ndarray:
    """Number of the plane in each channel, (n, 3)."""
    batch = volume_to_network(NUMBERED, picked, BOX, Intensity.WINDOWED, spec, spacing_mm=spacing_mm)
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))
    numbers = (batch * std + mean) * 255
    assert np.ptp(numbers, axis=(2, 3)).max() < 1e-3
    return np.asarray(np.rint(numbers[:, :, 0, 0]).astype(int))


@pytest.mark.parametrize(
    ("spacing_mm", "expected"),
    [
        (5.0, [[0, 0, 1], [4, 5, 6], [10, 11, 11]]),
        (1.0, [[0, 0, 5], [0, 5, 10], [6, 11, 11]]),
        (1.25, [[0, 0, 4], [1, 5, 9], [7, 11, 11]]),
        (2.2, [[0, 0, 2], [3, 5, 7], [9, 11, 11]]),
        (0.1, [[0, 0, 11], [0, 5, 11], [0, 11, 11]]),
        (12.0, [[0, 0, 0], [5, 5, 5], [11, 11, 11]]),
    ],
)
def test_below_own_above_at_the_distance_in_mm(spacing_mm: float, expected: list[list[int]]) -> None:
    assert planes_of([0, 5, 11], spacing_mm).tolist() == expected


def test_equal_channels_are_what_they_were_to_the_bit() -> None:
    noise = np.random.default_rng(0).integers(-1000, 400, (6, 40, 48)).astype(np.int16)
    for picked in (slice(1, 4), [0, 2, 5]):
        found = volume_to_network(noise, picked, BOX, Intensity.HU, EQUAL, spacing_mm=1.0)
        assert np.array_equal(found, to_network(noise[picked, BOX[0], BOX[1]], Intensity.HU, EQUAL))
        alone = volume_to_network(noise, picked, BOX, Intensity.HU, NEIGHBOURS, spacing_mm=100.0)
        assert np.array_equal(found, alone)


@pytest.mark.parametrize("spacing_mm", [1.0, 5.0])
def test_borders_of_batches_are_no_matter(spacing_mm: float) -> None:
    noise = np.random.default_rng(0).integers(-1000, 400, (PLANES, 40, 48)).astype(np.int16)

    def made(picked: slice | list[int]) -> np.ndarray:
        return volume_to_network(noise, picked, BOX, Intensity.HU, NEIGHBOURS, spacing_mm=spacing_mm)

    whole = made(slice(0, PLANES))
    for size in (1, 4, 5):
        parts = [made(slice(k, min(k + size, PLANES))) for k in range(0, PLANES, size)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(made([2, 7]), whole[[2, 7]])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A model that sees one channel alone."""
    spec = replace(MANIFEST.preprocess, channels="neighbours", neighbour_step_mm=7.5)
    manifest = replace(MANIFEST, preprocess=spec, contract_version=2).to_json()
    folder = tmp_path_factory.mktemp("models")
    return lambda channel: mid_grey_detector(folder / f"{channel}.onnx", manifest=manifest, channel=channel)


def predicted(model: Path, volume: CtVolume, *, threads: int = 1, batch_size: int = 4) -> Segmentation:
    with infnet_runtime.load(model, device="cpu", threads=threads) as segmenter:
        return segmenter.predict(volume, batch_size=batch_size, keep_probability=True)


def test_a_model_sees_its_neighbours_through_the_whole_path(
    detector: Callable[[int], Path], tmp_path: Path
) -> None:
    phantom = chest_phantom()
    volume = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    step = round(7.5 / volume.lps_spacing_mm[0])
    assert step >= 1, "the phantom's planes are too far apart for this test"
    plain = predicted(mid_grey_detector(tmp_path / "plain.onnx"), volume)
    below, own, above = (predicted(detector(channel), volume) for channel in range(3))
    seen = [volume.to_lps(r.probability) for r in (plain, below, own, above) if r.probability is not None]
    ran = np.flatnonzero([p.any() for p in seen[0]])
    first, last = int(ran[0]), int(ran[-1])
    assert last - first > 3 * step
    for k in range(first + step, last - step + 1):
        # Channels have other means; the detector undoes them up to rounding, times its gain.
        np.testing.assert_allclose(seen[1][k], seen[0][k - step], atol=2e-3)
        np.testing.assert_allclose(seen[2][k], seen[0][k], atol=2e-3)
        np.testing.assert_allclose(seen[3][k], seen[0][k + step], atol=2e-3)


def test_batches_and_threads_change_no_bit(detector: Callable[[int], Path]) -> None:
    phantom = chest_phantom()
    volume = CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom")
    model = detector(2)
    first = predicted(model, volume)
    assert first.mask.any()
    for threads, batch_size in ((1, 1), (1, 7), (2, 3), (2, 64)):
        other = predicted(model, volume, threads=threads, batch_size=batch_size)
        assert np.array_equal(other.mask, first.mask)
        assert np.array_equal(other.probability, first.probability)
        assert other.quantification == first.quantification
