"""A lung mask that was given marks the lungs of this scan, or is refused or flagged."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import LEFT, RIGHT, chest_phantom
from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan, read_lungs
from infnet_runtime.lungs import given_lungs as read
from infnet_runtime.plausible.given_lungs import given_lungs
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.scan.lung_mask import lung_mask

CHEST = chest_phantom((20, 144, 192), (12.0, 2.25, 2.0))
SCAN = CtVolume(CHEST.hu, CHEST.affine, Intensity.HU, "scan.nii.gz")
BODY = CHEST.hu > -300
INSIDE = BODY | (CHEST.lungs > 0)


def names(labels: np.ndarray, scan: CtVolume = SCAN) -> list[str]:
    return [flag.name for flag in given_lungs(scan, read(labels, scan.grid))]


def test_lungs_are_not_doubted() -> None:
    assert names(CHEST.lungs) == []
    assert names(CHEST.lungs > 0) == []
    assert names(CHEST.lungs == RIGHT) == []


def test_windowed_grey_is_measured_as_hu_are() -> None:
    grey = np.clip((CHEST.hu + 1050.0) * 255 / 1300, 0, 255).astype(np.uint8)
    scan = CtVolume(grey, CHEST.affine, Intensity.WINDOWED, "scan.nii.gz")
    assert names(CHEST.lungs, scan) == []
    with pytest.raises(InputError, match="something else"):
        names(CHEST.infection, scan)


def test_a_picture_may_be_cut_to_a_lung() -> None:
    rows, columns = (
        np.flatnonzero(CHEST.lungs[10].any(axis=1)),
        np.flatnonzero((CHEST.lungs[10] == 1).any(axis=0)),
    )
    box = (slice(10, 11), slice(rows[0], rows[-1]), slice(columns[0], columns[-1]))
    picture = CtVolume(CHEST.hu[box], CHEST.affine, Intensity.HU, "cut", has_size=False)
    assert names(CHEST.lungs[box] == 1, picture) == []
    full = np.ones(picture.voxels.shape, np.bool_)
    assert names(full, picture) == []


def test_lungs_that_were_found_are_not_looked_at() -> None:
    assert given_lungs(SCAN, lung_mask(INSIDE.astype(np.uint8), SCAN.grid, origin="threshold")) == ()


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.ones(CHEST.lungs.shape, np.bool_), "covers 100 % of the edge of the image"),
        (~INSIDE, r"covers 100 % of the edge"),
        (INSIDE, r"something else than the lungs: \d+ % of it hold air"),
        (CHEST.infection, "something else than the lungs: . % of it hold air"),
        (np.roll(CHEST.lungs > 0, 40, axis=1), "something else than the lungs"),
        (np.roll(CHEST.lungs > 0, 30, axis=2), "something else than the lungs"),
    ],
)
def test_what_is_no_lung_is_refused(mask: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        names(mask)
    assert caught.value.code == 3067


def test_open_air_within_the_image_is_refused() -> None:
    air = np.zeros(CHEST.lungs.shape, np.bool_)
    air[:, 2:10, 2:20] = True
    with pytest.raises(InputError, match=r"marks open air: the median inside is -100[01] HU") as caught:
        names(air)
    assert caught.value.code == 3067


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_white_lungs_are_flagged_and_not_refused(side: int) -> None:
    hu = np.where(CHEST.lungs == side, np.int16(30), CHEST.hu)
    white = CtVolume(hu, CHEST.affine, Intensity.HU, "white.nii.gz")
    assert names(CHEST.lungs == side, white) == ["lung_mask_without_air"]
    hu = np.where(CHEST.lungs > 0, np.int16(30), CHEST.hu)
    white = CtVolume(hu, CHEST.affine, Intensity.HU, "white.nii.gz")
    assert names(CHEST.lungs, white) == ["lung_mask_without_air"]


def eroded() -> np.ndarray:
    return np.stack([cv2.erode(plane, np.ones((5, 5), np.uint8)) for plane in CHEST.lungs])


@pytest.mark.parametrize(
    "mask",
    [
        eroded(),
        np.where(np.arange(144)[:, None] < 72, CHEST.lungs, 0),  # what lies in front
        np.where(np.arange(192) < 50, CHEST.lungs == RIGHT, 0),
    ],
)
def test_masks_that_leave_lung_out_are_flagged(mask: np.ndarray) -> None:
    assert names(mask) == ["lung_mask_cut_short"]


def test_what_was_read_otherwise_than_it_stands_is_told() -> None:
    labels = CHEST.lungs.copy()
    labels[tuple(np.argwhere(CHEST.lungs == RIGHT)[3000])] = 3
    (flag,) = given_lungs(SCAN, read(labels, SCAN.grid))
    assert (flag.name, flag.warns) == ("lung_labels_adjusted", False)
    assert "3 (1 voxels" in flag.text


def test_sides_against_their_place_warn() -> None:
    named = LungLabels.parse("right=2,left=1")
    (flag,) = given_lungs(SCAN, read(CHEST.lungs, SCAN.grid, named=named))
    assert (flag.name, flag.warns) == ("lung_sides_exchanged", True)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "radiopaedia-covid-volumes/radiopaedia_7_85703_0",
        "radiopaedia-covid-volumes-2/radiopaedia_29_86490_1",
        "healthy-ct-volumes/Lung_Dx-A0002-B70f_low",
    ],
)
def test_real_lungs_are_not_doubted_and_real_infections_are(data_root: Path, name: str) -> None:
    scan = open_scan(data_root / f"{name}_ct.nii.gz").volume
    assert given_lungs(scan, read_lungs(data_root / f"{name}_lung.nii.gz", scan)) == ()
    if "radiopaedia" in name:
        infection = read_lungs(data_root / f"{name}_infection.nii.gz", scan, LungLabels(lung=(1, 2, 3)))
        with pytest.raises(InputError, match="INF-3067"):
            given_lungs(scan, infection)
