"""Masks of every kind that people store are read right by all readers, or refused by all of them."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from infnet_train.data.check import check_data
from infnet_train.data.datasets import load_source
from infnet_train.data.edges import write_edges
from infnet_train.data.masks import read_labelled, read_mask, read_pair
from infnet_train.data.pictures import DataError, slices_in
from infnet_train.data.source import SourceConfig
from infnet_train.machine.ranks import Ranks
from infnet_train.run.sources import load_slices
from train_config import SMALL, changed
from train_slices import write_picture

Picture = npt.NDArray[np.generic]
SHAPE = (40, 50)
SOURCE = SourceConfig(name="own", folder=".")


def truths() -> list[npt.NDArray[np.bool_]]:
    """Infection of four slices, the last of them without any."""
    masks = [np.zeros(SHAPE, bool) for _ in range(4)]
    for i, mask in enumerate(masks[:3]):
        mask[8 + i : 20 + 2 * i, 10:25] = True
    return masks


def write(folder: Path, store: Callable[[npt.NDArray[np.bool_]], Picture], ending: str = ".png") -> Path:
    for i, truth in enumerate(truths()):
        write_picture(folder / "Imgs" / f"{i}.png", np.full(SHAPE, 60 + i, np.uint8))
        write_picture(folder / "GT" / f"{i}{ending}", store(truth))
    return folder


def numbers(value: int, kind: type = np.uint8) -> Callable[[npt.NDArray[np.bool_]], Picture]:
    return lambda truth: np.where(truth, value, 0).astype(kind)


def channels(count: int, value: int = 255) -> Callable[[npt.NDArray[np.bool_]], Picture]:
    def store(truth: npt.NDArray[np.bool_]) -> Picture:
        picture = np.dstack([np.where(truth, value, 0).astype(np.uint8)] * count)
        picture[..., 3:] = 255
        return picture

    return store


def red(truth: npt.NDArray[np.bool_]) -> Picture:
    return np.dstack([np.zeros(SHAPE), np.zeros(SHAPE), truth * 128]).astype(np.uint8)


def assert_read_right(folder: Path) -> None:
    """By the reader of evaluation, of training, of edges and of the data check."""
    for (_, _, found), truth in zip(read_labelled(folder, "none"), truths(), strict=True):
        assert np.array_equal(found, truth)
    for path, truth in zip(slices_in(folder), truths(), strict=True):
        assert np.array_equal(read_pair(path)[1], truth * np.uint8(255))
    loaded = load_source(folder, SOURCE, 32)
    assert loaded.masks[0].max() == 255
    assert not loaded.masks[3].any()
    write_edges(folder, "gradient")
    (report,) = check_data(folder).folders
    assert (report.pairs, report.empty_masks, report.labels) == (4, ("3",), "hard")
    assert (report.edge_kind, check_data(folder).problems) == ("gradient", ())


@pytest.mark.parametrize(
    "store",
    [
        *(numbers(value) for value in (255, 1, 2, 17, 128, 200, 254)),
        *(numbers(value, np.uint16) for value in (1, 255, 65535)),
        *(channels(count) for count in (3, 4)),
        channels(3, 1),
        red,
    ],
)
def test_one_label_is_infection_whatever_its_number(
    tmp_path: Path, store: Callable[[npt.NDArray[np.bool_]], Picture]
) -> None:
    assert_read_right(write(tmp_path, store))


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA"])
def test_masks_of_other_programs(tmp_path: Path, mode: str) -> None:
    write(tmp_path, numbers(255))
    for i, truth in enumerate(truths()):
        picture = Image.fromarray(truth.astype(np.uint8), "L")
        if mode == "P":
            picture.putpalette([0, 0, 0, 128, 0, 0])  # the colours of Pascal VOC
            assert picture.mode == "P"
        elif mode == "1":
            picture = Image.fromarray(truth)
        else:
            picture = picture.convert(mode)
        assert picture.mode == mode
        picture.save(tmp_path / "GT" / f"{i}.png")
    assert_read_right(tmp_path)


def test_a_mask_stored_as_jpeg_wavers_and_is_cut_at_half(tmp_path: Path) -> None:
    write(
        tmp_path,
        lambda truth: cv2.GaussianBlur(np.where(truth, 255, 0).astype(np.uint8), (0, 0), 0.3),
        ".jpg",
    )
    stored = cv2.imread(str(tmp_path / "GT" / "0.jpg"), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(stored)) > 8
    for path, truth in zip(slices_in(tmp_path), truths(), strict=True):
        _, mask = read_pair(path)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.mean((mask > 0) != truth) < 0.01


def test_a_jpeg_with_labels_between_is_refused(tmp_path: Path) -> None:
    write(tmp_path, classes(*[128] * 9, *[255] * 9), ".jpg")
    with pytest.raises(DataError, match=r"0.jpg is a JPEG with an area between 48 and 208") as caught:
        list(read_labelled(tmp_path, "none"))
    assert caught.value.code == 3144


def test_what_is_not_0_and_255_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, numbers(1))
    with caplog.at_level(logging.WARNING):
        list(read_labelled(tmp_path, "none"))
    (record,) = caplog.records
    assert "hold no label but 1: it is read as infection, as 255 would be" in record.getMessage()
    caplog.clear()
    write(tmp_path, numbers(255))
    list(read_labelled(tmp_path, "none"))
    assert not caplog.records


def classes(*values: int) -> Callable[[npt.NDArray[np.bool_]], Picture]:
    """The infection in stripes of several labels."""
    stripes = np.resize(np.array(values), SHAPE[1])[None]
    return lambda truth: np.where(truth, stripes, 0).astype(np.uint8)


def two_colours(truth: npt.NDArray[np.bool_]) -> Picture:
    picture = np.asarray(red(truth))
    picture[:, 20:][truth[:, 20:]] = (0, 255, 0)
    return picture


@pytest.mark.parametrize(
    ("store", "code", "text"),
    [
        (classes(1, 2), 3144, r"GT hold the labels 1 \(0.png\), 2 \(0.png\) besides 0"),
        (classes(1, 2, 3), 3144, "hold the labels 1 .*, 2 .*, 3 .* besides 0"),
        (classes(1, 255), 3144, "hold the labels 1 .*, 255 .* --ignore which do not count"),
        (classes(128, 255), 3144, "hold the labels 128 .*, 255"),
        (two_colours, 3144, "hold the labels a colour .*, a colour"),
        (classes(*range(1, 40)), 3135, "hold no label above 25, .* would count as empty"),
        (lambda truth: np.where(truth, 0, 255).astype(np.uint8), 3145, "4 of 4 masks .* they are inverted"),
        (lambda truth: np.where(truth, 0, 1).astype(np.uint8), 3145, "mark more than half of the border"),
        (lambda _: np.arange(100, 240, 0.07)[:2000].reshape(SHAPE).astype(np.uint8), 3145, "or no masks"),
        (numbers(1000, np.uint16), 3134, "0.png has 16 bits per pixel"),
        (lambda t: np.dstack([np.zeros((*SHAPE, 3)), t * 255]).astype(np.uint8), 3134, "a transparency that"),
    ],
)
def test_what_can_mean_several_things_is_refused_by_all_readers(
    tmp_path: Path, store: Callable[[npt.NDArray[np.bool_]], Picture], code: int, text: str
) -> None:
    write(tmp_path, store)
    for read in (
        lambda: list(read_labelled(tmp_path, "none")),
        lambda: load_source(tmp_path, SOURCE, 32),
        lambda: write_edges(tmp_path, "gradient"),
    ):
        with pytest.raises(DataError, match=text) as caught:
            read()
        assert caught.value.code == code
    report = check_data(tmp_path)
    if store is two_colours:  # a set of classes lies in COVID-SemiSeg too
        assert report.folders[0].labels == "colour"
    else:
        assert code in {problem.code for problem in report.problems}


def test_two_conventions_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, numbers(255))
    write_picture(tmp_path / "GT" / "1.png", numbers(1)(truths()[1]))
    with pytest.raises(DataError, match=r"hold the labels 1 \(1.png\), 255 \(0.png\)"):
        list(read_labelled(tmp_path, "none"))


def test_a_folder_changed_since_is_looked_at_again(tmp_path: Path) -> None:
    write(tmp_path, numbers(1))
    assert read_mask(tmp_path / "GT" / "0.png").max() == 255
    write(tmp_path, numbers(7))
    assert np.array_equal(read_mask(tmp_path / "GT" / "0.png"), truths()[0] * np.uint8(255))


def test_labels_that_say_how_sure_they_are_stay_as_they_are(tmp_path: Path) -> None:
    ramp = np.zeros(SHAPE, np.uint8)
    ramp[5:35, 5:45] = np.arange(1, 201, 5)
    write(tmp_path, lambda _: ramp)
    assert np.array_equal(read_mask(tmp_path / "GT" / "0.png"), ramp)
    write(tmp_path, lambda _: ramp // 4)  # none of them sure
    with pytest.raises(DataError, match="soft_labels = true"):
        load_source(tmp_path, SOURCE, 32)
    soft = load_source(tmp_path, SourceConfig(name="own", folder=".", soft_labels=True), 32)
    assert soft.masks.max() == pytest.approx(ramp.max() // 4, abs=4)


def test_masks_that_are_all_empty_are_read_as_such(tmp_path: Path) -> None:
    write(tmp_path, numbers(0))
    assert not any(truth.any() for _, _, truth in read_labelled(tmp_path, "none"))


@pytest.mark.parametrize(
    ("images", "masks", "names"),
    [
        ("Imgs", "GT", ("a.jpg", "a.png")),
        ("images", "masks", ("a.png", "a.png")),
        ("images", "masks", ("a.jpeg", "a.jpg")),
        ("imagesTr", "labelsTr", ("lung_001_0000.png", "lung_001.png")),
    ],
)
def test_layouts(tmp_path: Path, images: str, masks: str, names: tuple[str, str]) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:20, 10:30] = 255
    write_picture(tmp_path / images / names[0], np.full(SHAPE, 77, np.uint8))
    write_picture(tmp_path / masks / names[1], mask)
    ((_, grey, truth),) = read_labelled(tmp_path, "none")
    assert np.allclose(grey, 77, atol=1)
    assert truth.sum() == 200
    assert len(load_source(tmp_path, SOURCE, 32)) == 1
    report = check_data(tmp_path)
    assert (report.folders[0].pairs, report.problems) == (1, ())


def test_two_layouts_or_two_masks_are_refused(tmp_path: Path) -> None:
    write(tmp_path, numbers(255))
    write_picture(tmp_path / "GT" / "1.jpg", np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match=r"1.png has two masks, .*GT/1.png and 1.jpg") as caught:
        list(read_labelled(tmp_path, "none"))
    assert caught.value.code == 3148
    (tmp_path / "GT" / "1.jpg").unlink()
    write_picture(tmp_path / "images" / "1.png", np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match=r"has the folders Imgs and images, expected one") as caught:
        read_labelled(tmp_path, "none")
    assert caught.value.code == 3148
    assert 3148 in {problem.code for problem in check_data(tmp_path).problems}


def test_a_training_without_any_infection_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "own", numbers(0))
    config = changed(SMALL, sources=(SourceConfig(name="own", folder="own"),), validation=None)
    with pytest.raises(DataError, match="all 4 masks of the sources are empty") as caught:
        load_slices(config, tmp_path, Ranks(), cache=None, bf16=False)
    assert caught.value.code == 3147
    write(tmp_path / "ill", numbers(1))
    both = changed(config, sources=(*config.sources, SourceConfig(name="ill", folder="ill")))
    sources, _ = load_slices(both, tmp_path, Ranks(), cache=None, bf16=False)
    assert [bool(slices.masks.any()) for _, slices in sources] == [False, True]
