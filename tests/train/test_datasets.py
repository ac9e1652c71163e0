"""Slices from folders: upright, at network size, and damaged data named."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_train.config import SourceConfig
from infnet_train.datasets import DataError, edge_of, load_source, upright
from train_slices import write_slice

SOURCE = SourceConfig(name="small", folder="small")


def test_slices_come_at_network_size(slices: Path) -> None:
    loaded = load_source(slices, SOURCE, 64)
    assert loaded.names == ("s0", "s1", "s2", "s3", "s4", "s5")
    assert loaded.images.shape == loaded.masks.shape == loaded.edges.shape == (6, 64, 64)
    inside = loaded.masks > 200
    assert loaded.images[inside].mean() == pytest.approx(140, abs=4)


def test_turns() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert upright(image, "none").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert upright(image, "transpose").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert upright(image, "transpose_flip").tolist() == [[2, 5], [1, 4], [0, 3]]


def test_choice_by_name(slices: Path) -> None:
    chosen = SourceConfig(name="small", folder="small", exclude=("s1",), names=("s0", "s1", "s5"))
    assert load_source(slices, chosen, 32).names == ("s0", "s5")


def test_grey_range_is_stretched_to_the_full_scale(slices: Path) -> None:
    plain = load_source(slices, SOURCE, 64).images
    stretched = load_source(
        slices, SourceConfig(name="s", folder="small", grey_range=(0.0, 127.5)), 64
    ).images
    dark = plain < 60  # inside the lungs, away from what saturates
    assert np.median(stretched[dark].astype(int) - 2 * plain[dark].astype(int)) == pytest.approx(0, abs=1)


def test_labels_outside_the_lungs_can_be_dropped(slices: Path) -> None:
    mask = cv2.imread(str(slices / "small/GT/s0.png"), cv2.IMREAD_GRAYSCALE)
    mask[:4, :8] = 255  # a false label in the corner
    cv2.imwrite(str(slices / "small/GT/s0.png"), mask)
    kept = load_source(slices, SOURCE, 64).masks[0]
    cleaned = load_source(slices, SourceConfig(name="s", folder="small", inside_lungs=True), 64).masks[0]
    assert kept[0, 0] == 255
    assert cleaned[0, 0] == 0
    assert (cleaned > 127).sum() == (kept[6:] > 127).sum()


def test_labels_too_small_to_believe_can_be_dropped(slices: Path) -> None:
    none = load_source(slices, SourceConfig(name="s", folder="small", min_fraction=0.5), 64)
    assert none.masks.max() == none.edges.max() == 0


def test_edge_is_two_pixels_wide() -> None:
    mask = np.zeros((7, 7), bool)
    mask[:, 3:] = True
    assert edge_of(mask)[3].tolist() == [False, False, True, True, False, False, False]


def test_damaged_data_are_named(slices: Path) -> None:
    (slices / "small/GT/s2.png").unlink()
    with pytest.raises(DataError, match=r"s2\.png has no mask: expected .*GT"):
        load_source(slices, SOURCE, 64)
    cv2.imwrite(str(slices / "small/GT/s2.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(DataError, match=r"s2\.png is \(70, 90\), its mask is \(5, 5\)"):
        load_source(slices, SOURCE, 64)
    (slices / "small/Imgs/s2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"s2\.png cannot be read as a picture"):
        load_source(slices, SOURCE, 64)
    with pytest.raises(DataError, match=r"0 slices in .*Imgs, none of them chosen"):
        load_source(slices, SourceConfig(name="x", folder="nowhere"), 64)


def test_empty_file_is_named(tmp_path: Path) -> None:
    write_slice(tmp_path / "one", "a", seed=0)
    (tmp_path / "one/Imgs/a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png cannot be read as a picture"):
        load_source(tmp_path, SourceConfig(name="one", folder="one"), 64)


@pytest.mark.data
def test_released_edges_are_reproduced(data_root: Path) -> None:
    folder = data_root / "covid-semiseg/TrainingSet/LungInfection-Train/Doctor-label"
    paths = sorted((folder / "Edge").glob("*.png"))
    assert len(paths) == 50
    for path in paths:
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
        mask = cv2.imread(str(folder / "GT" / path.name), cv2.IMREAD_GRAYSCALE) > 127
        assert np.array_equal(edge_of(mask), truth), path.name
