"""The contract: window, resize and normalisation against independent references, and the way back."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import (
    from_network,
    infected_on_grid,
    normalise,
    resize,
    resize_matrix,
    to_grey,
    to_network,
)

SPEC = PreprocessSpec()
FLOAT32 = 2e-6  # relative to a full scale of 1; 6e-7 was seen


def assert_near(found: npt.NDArray[np.float32], expected: npt.ArrayLike) -> None:
    # pytest.approx says the same value by value, a hundred times slower
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32, equal_nan=False)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((512, 480), (352, 352)), ((200, 300), (352, 352)), ((37, 900), (96, 64)), ((1, 5), (3, 3))],
)
def test_resize_equals_pillow_bilinear(shape: tuple[int, int], target: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))
    assert_near(resize(image[None], *target)[0], expected)


def test_resize_keeps_constants_and_the_identity() -> None:
    assert_near(resize(np.full((1, 77, 51), 0.3, np.float32), 352, 352), 0.3)
    image = np.random.default_rng(0).random((2, 40, 30), dtype=np.float32)
    assert np.array_equal(resize(image, 40, 30), image)
    assert_near(resize_matrix(512, 352).sum(axis=1), 1)


def test_window_maps_its_ends_to_0_and_1_and_clips_padding() -> None:
    low, high = SPEC.window_hu
    hu = np.array([[[low, high, (low + high) / 2, -3024, 3000]]], np.int16)
    assert_near(to_grey(hu, Intensity.HU, SPEC)[0, 0], [0, 1, 0.5, 0, 1])


def test_windowed_input_is_not_windowed_twice() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert_near(to_grey(grey, Intensity.WINDOWED, SPEC), grey / 255)


def test_nothing_depends_on_the_range_of_the_slice() -> None:
    faint = np.full((1, 64, 64), -850, np.int16)
    faint[0, :8] = -840
    together = np.concatenate([faint, np.full_like(faint, 1000)])
    alone = to_network(faint, Intensity.HU, SPEC)
    assert np.array_equal(to_network(together, Intensity.HU, SPEC)[:1], alone)
    assert np.ptp(alone[:, 0]) < 0.1


def test_channels_are_equal_grey_with_imagenet_statistics() -> None:
    grey = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    planes = normalise(grey, SPEC)
    assert planes.shape == (2, 3, 32, 32)
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        assert_near(planes[:, channel] * std + mean, grey)


@pytest.mark.parametrize("box", [(180, 260), (352, 352), (500, 430), (33, 47)])
def test_there_and_back_keeps_places(box: tuple[int, int]) -> None:
    rows, columns = box
    row, column = np.mgrid[:rows, :columns]
    centre = (0.3 * rows, 0.7 * columns)
    disc = ((row - centre[0]) / (0.15 * rows)) ** 2 + ((column - centre[1]) / (0.2 * columns)) ** 2 < 1
    spec = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1))
    grey = to_network((disc * 255).astype(np.uint8)[None], Intensity.WINDOWED, spec)
    back = from_network(grey[:, 0], rows, columns)[0] >= 0.5
    assert (back & disc).sum() * 2 / (back.sum() + disc.sum()) > 0.98
    for mask in (back, disc):
        assert np.argwhere(mask).mean(axis=0) == pytest.approx(np.argwhere(disc).mean(axis=0), abs=0.3)


@pytest.mark.parametrize("shape", [(289, 377), (500, 560), (1024, 700), (20, 33), (1, 1)])
def test_resize_by_bands_equals_the_whole_product(shape: tuple[int, int]) -> None:
    rows, columns = 352, 352
    rng = np.random.default_rng(0)
    for here, there in ((shape, (rows, columns)), ((rows, columns), shape)):
        images = rng.random((3, *here), dtype=np.float32)
        whole = resize_matrix(here[0], there[0]) @ images @ resize_matrix(here[1], there[1]).T
        banded = resize(images, *there)
        assert_near(banded, whole)
        # What a slice becomes does not depend on the slices beside it.
        assert np.array_equal(banded[1:2], resize(images[1:2], *there))


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9, 1e-7])
@pytest.mark.parametrize("temperature", [1.0, 1.7, 0.4, 20.0])
def test_infected_on_grid_equals_the_threshold_on_all_probabilities(
    threshold: float, temperature: float
) -> None:
    rng = np.random.default_rng(1)
    highest = np.array([0, 1e-7, 0.2999, 0.3, 0.4999999, 0.5, 0.5000001, 0.9, 1], np.float32)
    own = rng.random((len(highest), 96, 96), dtype=np.float32) * highest[:, None, None]
    own[:, 40:44, 40:44] = highest[:, None, None]
    for rows, columns in ((130, 77), (96, 96)):
        expected = from_network(own, rows, columns, temperature=temperature) >= threshold
        found = infected_on_grid(own, rows, columns, threshold=threshold, temperature=temperature)
        assert np.array_equal(found, expected)
