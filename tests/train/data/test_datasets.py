"""Slices from folders: upright, at network size, and damaged data named."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from infnet_train.data.datasets import load_source
from infnet_train.data.edges import edge_of, edges, write_edges
from infnet_train.data.masks import read_pair
from infnet_train.data.pictures import DataError, read_grey, upright
from infnet_train.data.source import SourceConfig
from train_slices import write_picture

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


def test_edge_by_canny_is_one_pixel_wide() -> None:
    mask = np.zeros((7, 7), bool)
    mask[:, 3:] = True
    assert edges(mask, "canny")[3].sum() == 1
    assert edges(mask, "gradient")[3].sum() == 2
    for definition in ("gradient", "canny"):
        assert not edges(np.zeros((7, 7), bool), definition).any()
        assert not edges(np.ones((7, 7), bool), definition).any()


def test_a_recipe_chooses_the_definition_of_edges(slices: Path) -> None:
    by = {
        edge: load_source(slices, SourceConfig(name="s", folder="small", edge=edge), 64).edges.mean()
        for edge in ("gradient", "canny")
    }
    assert 0 < by["canny"] < 0.8 * by["gradient"]
    assert np.isclose(load_source(slices, SOURCE, 64).edges.mean(), by["gradient"])


def test_edges_from_files_are_turned_with_their_slices(slices: Path) -> None:
    source = SourceConfig(name="s", folder="small", turn="transpose_flip", edge="file")
    with pytest.raises(DataError, match=r"s0.png has no edge map: expected .*Edge/s0.png") as caught:
        load_source(slices, source, 64)
    assert caught.value.code == 3118
    write_edges(slices / "small", "gradient")
    made = load_source(slices, dataclasses.replace(source, edge="gradient"), 64).edges
    assert np.array_equal(load_source(slices, source, 64).edges, made)
    write_picture(slices / "small/Edge/s0.png", np.full((70, 90), 255, np.uint8))
    read = load_source(slices, source, 64).edges
    assert read[0].min() == 255
    assert np.array_equal(read[1:], made[1:])
    dropped = load_source(slices, dataclasses.replace(source, min_fraction=0.5), 64)
    assert dropped.edges.max() == 0  # an edge goes with its label
    write_picture(slices / "small/Edge/s0.png", np.zeros((70, 91), np.uint8))
    with pytest.raises(DataError, match=r"Edge/s0.png is \(70, 91\), its mask is \(70, 90\)"):
        load_source(slices, source, 64)


def test_labels_above_128_are_infection(slices: Path) -> None:
    """As in the authors' tool. The value 128 is common: with it, 956 released Canny edges would differ."""
    mask = np.zeros((64, 64), np.uint8)
    mask[8:20, 8:20], mask[40:52, 40:52] = 128, 129
    mask[60, :20] = np.arange(1, 21)  # grey that says how sure the label is
    write_picture(slices / "one/GT/a.png", mask)
    write_picture(slices / "one/Imgs/a.png", np.full((64, 64), 90, np.uint8))
    loaded = load_source(slices, SourceConfig(name="one", folder="one", binarise=True), 64)
    assert np.array_equal(loaded.masks[0], np.where(mask == 129, 255, 0))
    assert not loaded.edges[0][:30, :30].any()
    assert loaded.edges[0][30:, 30:].any()


def test_a_mask_that_is_missing_or_of_another_size(slices: Path) -> None:
    (slices / "small/GT/s2.png").unlink()
    with pytest.raises(DataError, match=r"s2\.png has no mask: expected .*GT/s2\.png") as caught:
        load_source(slices, SOURCE, 64)
    assert caught.value.code == 3112
    write_picture(slices / "small/GT/s2.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DataError, match=r"s2\.png is \(70, 90\), its mask is \(5, 5\)") as caught:
        load_source(slices, SOURCE, 64)
    assert caught.value.code == 3113
    for sub in ("Imgs", "GT"):
        write_picture(slices / f"small/{sub}/s2.png", np.zeros((1, 9), np.uint8))
    with pytest.raises(DataError, match=r"s2\.png is \(1, 9\), expected at least two pixels each way"):
        load_source(slices, SOURCE, 64)


def test_folders_without_slices_and_names_that_match_nothing(slices: Path) -> None:
    with pytest.raises(DataError, match=r"no slices in .*nowhere: source 'x' .*data has small\.") as caught:
        load_source(slices, SourceConfig(name="x", folder="nowhere"), 64)
    assert caught.value.code == 3111
    with pytest.raises(DataError, match=r"there is no data folder .*lost; source 'x' .* expects sub/ in it"):
        load_source(slices / "lost", SourceConfig(name="x", folder="sub"), 64)
    (slices / "bare").mkdir()
    with pytest.raises(DataError, match=r"no slices in .*bare/Imgs; expected Imgs/<name>.jpg and GT/<name>"):
        load_source(slices, SourceConfig(name="x", folder="bare"), 64)
    with pytest.raises(DataError, match=r"source 'x': 6 slices in .*small/Imgs, none of them chosen"):
        load_source(slices, SourceConfig(name="x", folder="small", include=("org",)), 64)


def test_two_slices_of_one_name_would_share_a_mask(slices: Path) -> None:
    write_picture(slices / "small/Imgs/s2.jpg", np.zeros((70, 90), np.uint8))
    with pytest.raises(DataError, match=r"Imgs/s2.jpg and s2.png have one name") as caught:
        load_source(slices, SOURCE, 64)
    assert caught.value.code == 3116


def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.arange(6300, dtype=np.uint8).reshape(70, 90))[1].tobytes()


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


COLOURED = np.dstack([np.arange(6300, dtype=np.uint8).reshape(70, 90), np.zeros((70, 90, 2), np.uint8)])


@pytest.mark.parametrize("kind", ["Imgs", "GT"])
@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (b"", 3114, "is empty"),
        (b"no picture", 3114, r"is neither PNG nor JPEG \(it begins with b'no p'\)"),
        (jpeg()[:-100], 3114, "ends early"),  # a decoder would fill the rest with grey
        (png(np.eye(70, 90, dtype=np.uint8))[:-20], 3114, "ends early"),
        (
            png(np.arange(6300, dtype=np.uint16).reshape(70, 90)),
            3134,
            "has 16 bits per pixel, expected 8-bit grey",
        ),
        (png(COLOURED), 3134, "is in colour, expected 8-bit grey"),
    ],
)
def test_a_damaged_picture_is_named(slices: Path, kind: str, content: bytes, code: int, text: str) -> None:
    (slices / "small" / kind / "s2.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"small/{kind}/s2\.png {text}") as caught:
        load_source(slices, SOURCE, 64)
    assert caught.value.code == code


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png cannot be read \(No such file or directory\)"):
        read_grey(tmp_path / "a.png")


def test_grey_in_three_channels_is_grey(slices: Path) -> None:
    image = slices / "small/Imgs/s0.png"
    grey, mask = read_pair(image)
    write_picture(image, np.dstack([grey] * 3))
    again, same = read_pair(image)
    assert np.array_equal(again, grey)
    assert np.array_equal(same, mask)


@pytest.mark.data
def test_released_edges_are_reproduced(data_root: Path) -> None:
    """All of the labelled slices; of the pseudo-labels every 20th, all of them are in test_data_check."""
    training = data_root / "covid-semiseg/TrainingSet/LungInfection-Train"
    for part, definition, step, count in (("Doctor", "gradient", 1, 50), ("Pseudo", "canny", 20, 80)):
        folder = training / f"{part}-label"
        paths = sorted((folder / "Edge").glob("*.png"))[::step]
        assert len(paths) == count
        for path in paths:
            mask = read_grey(folder / "GT" / path.name) > 128
            assert np.array_equal(edges(mask, definition), read_grey(path) > 0), path.name
