"""Preparation of the public sets: orientation, grey scale, transferred labels, and nothing half-written."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from builders import chest_phantom, reorient, write_nifti
from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.lungs import lung_box
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.scan.phantom import ChestPhantom
from infnet_train.cli.main import app
from infnet_train.data.manual import manual_slices
from infnet_train.data.masks import LabelMeaning
from infnet_train.data.negatives import normal_slices
from infnet_train.data.pictures import DataError, read_grey, upright
from infnet_train.data.prepare import prepare, transfer_labels
from infnet_train.data.reserved import RESERVED, is_reserved
from infnet_train.data.semiseg import MULTI_CLASS
from infnet_train.data.volumes import slices_of_volume
from infnet_train.semi.pseudo_labels import as_stored
from train_slices import LABELLED, PSEUDO, blobs, write_picture

CORONA = "Data-1_coronacases_org_002_17"
RADIO = "Data-1_radiopaedia_org_covid-19-pneumonia-7_85703_0-dcm_3"
PHANTOM = chest_phantom()
TWIN_CORNER = (12, 22)  # row and column of the slice in its enhanced twin, in full-size pixels


def write_stored(folder: Path, name: str, grey: ByteArray, mask: ByteArray) -> None:
    write_picture(folder / "Imgs" / f"{name}.jpg", grey)
    write_picture(folder / "GT" / f"{name}.png", mask)


def write_enhanced(root: Path, name: str, upright_grey: ByteArray, *, seed: int = 99) -> ByteArray:
    """A twin at half size with another contrast in a larger field; its full-size infection comes back."""
    small = cv2.resize(upright_grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    row, column = (place // 2 for place in TWIN_CORNER)
    ct, infection = blobs(seed, (70, 80)), np.zeros((70, 80), np.uint8)
    ct[row : row + small.shape[0], column : column + small.shape[1]] = 255 * (small / 255.0) ** 0.6
    infection[row + 4 : row + 12, column + 6 : column + 20] = 255
    write_picture(root / "ct" / f"{name}.png", ct)
    write_picture(root / "infection" / f"{name}.png", infection)
    full = np.zeros(upright_grey.shape, np.uint8)
    full[8:24, 12:40] = 255
    return full


def write_volume(folder: Path, name: str, phantom: ChestPhantom, code: str, *, lungs: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, npt.NDArray[Any]] = {"ct": phantom.hu, "infection": phantom.infection * np.uint8(3)}
    if lungs:
        kinds["lung"] = phantom.lungs
    for kind, array in kinds.items():
        write_nifti(folder / f"{name}_{kind}.nii.gz", *reorient(array, phantom.spacing_mm, code))


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """The four sets, each with a slice or two."""
    root = tmp_path / "sets"
    semiseg = root / "covid-semiseg"
    masks = [np.pad(np.where(blobs(40 + i, (88, 78)) > 150, 255, 0).astype(np.uint8), 1) for i in range(4)]
    write_stored(semiseg / LABELLED, "0", blobs(0, (90, 80)), masks[0])
    write_stored(semiseg / PSEUDO, CORONA, blobs(1, (90, 80)), masks[1])
    write_stored(semiseg / PSEUDO, RADIO, blobs(2, (90, 80)), masks[2])
    stored = upright(read_grey(semiseg / PSEUDO / "Imgs" / f"{CORONA}.jpg"), "transpose_flip")
    write_enhanced(root / "coronacases-slices", "coronacases_002_0005", stored)
    write_volume(root / "radiopaedia-covid-volumes", "radiopaedia_7_85703_0", PHANTOM, "LPI")
    return root


def written(folder: Path, name: str) -> tuple[ByteArray, ByteArray]:
    return read_grey(folder / "Imgs" / f"{name}.png"), read_grey(folder / "GT" / f"{name}.png")


def test_each_set_comes_upright_and_regraded(sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = prepare(sets, out)
    lungs = int((PHANTOM.lungs > 0).any(axis=(1, 2)).sum())
    assert counts == {"labelled": 1, "pseudo": 2, "volumes": lungs, "transferred": 1}
    assert sorted(p.name for p in out.iterdir()) == [
        "labelled",
        "prepared.json",
        "pseudo",
        "transferred",
        "volumes",
    ]

    def stored(part: Path, name: str) -> tuple[ByteArray, ByteArray]:
        folder = sets / "covid-semiseg" / part
        return read_grey(folder / "Imgs" / f"{name}.jpg"), read_grey(folder / "GT" / f"{name}.png")

    for part, folder, name in ((LABELLED, "labelled", "0"), (PSEUDO, "pseudo", RADIO)):
        for before, after in zip(stored(part, name), written(out / folder, name), strict=True):
            assert np.array_equal(after, before.T)
    (grey, mask), (new_grey, new_mask) = stored(PSEUDO, CORONA), written(out / "pseudo", CORONA)
    assert np.array_equal(new_mask, mask.T[::-1])  # the coronacases run back to front as well
    # The scale of case 002: -4.4 becomes 0 and 110.1 becomes 255.
    line = (grey.T[::-1].astype(float) + 4.4) / (110.1 + 4.4) * 255
    assert np.abs(new_grey - np.clip(line, 0, 255)).max() <= 0.5
    grey, mask = written(out / "transferred", CORONA)
    assert np.array_equal(grey, new_grey)
    assert not np.array_equal(mask, new_mask)


@pytest.mark.parametrize("code", ["LPS", "LPI", "RAS", "SAR"])
def test_volumes_come_upright_cropped_and_with_their_healthy_slices(tmp_path: Path, code: str) -> None:
    write_volume(tmp_path, "a", PHANTOM, code)
    made = list(slices_of_volume(*(tmp_path / f"a_{kind}.nii.gz" for kind in ("ct", "infection", "lung"))))
    with_lung = np.flatnonzero((PHANTOM.lungs > 0).any(axis=(1, 2)))
    assert [one.name for one in made] == [f"a_{k:03d}" for k in with_lung]
    spec = PreprocessSpec()
    rows, columns = lung_box(PHANTOM.lungs, PHANTOM.spacing_mm, spec.crop_margin_mm)
    low, high = spec.window_hu
    for k, one in zip(with_lung, made, strict=True):
        assert np.array_equal(one.infection, PHANTOM.infection[k, rows, columns] * np.uint8(255))
        grey = np.clip((PHANTOM.hu[k, rows, columns] - low) / (high - low), 0, 1) * 255
        assert np.abs(one.grey - grey).max() <= 0.501
    healthy = [one for one in made if not one.infection.any()]
    assert 0 < len(healthy) < len(made)


def test_lungs_are_found_where_none_are_given(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", PHANTOM, "LPS", lungs=False)
    made = list(slices_of_volume(tmp_path / "a_ct.nii.gz", tmp_path / "a_infection.nii.gz"))
    assert sum(one.infection.any() for one in made) == PHANTOM.infection.any(axis=(1, 2)).sum()


def test_what_one_reader_of_two_marks_is_ignored(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", PHANTOM, "LPS")
    infected = np.flatnonzero(PHANTOM.infection.any(axis=(1, 2)))
    other = np.zeros(PHANTOM.infection.shape, np.uint8)
    other[PHANTOM.infection > 0] = 1
    other[infected[0]] = 255  # not read
    other[infected[1]] = 0
    other[infected[2]] = 1
    write_nifti(tmp_path / "other.nii.gz", *reorient(other, PHANTOM.spacing_mm, "LPS"))
    files = [tmp_path / f"a_{kind}.nii.gz" for kind in ("ct", "infection", "lung")]
    alone = {s.name: s for s in slices_of_volume(*files)}
    both = {s.name: s for s in slices_of_volume(*files, second_reader=tmp_path / "other.nii.gz")}
    for k, ignored in zip(infected[:4], ("none", "infection", "rest", "none"), strict=False):
        found, first = both[f"a_{k:03d}"], alone[f"a_{k:03d}"].infection
        assert np.array_equal(found.infection, first)  # those of the first reader stay
        expected = {"none": None, "infection": first, "rest": 255 - first}[ignored]
        assert (found.ignore is None) if expected is None else np.array_equal(found.ignore, expected)


@pytest.mark.parametrize("code", ["LPS", "RAI"])
def test_neighbours_of_a_volume_are_its_planes(tmp_path: Path, code: str) -> None:
    write_volume(tmp_path, "a", PHANTOM, code)
    files = [tmp_path / f"a_{kind}.nii.gz" for kind in ("ct", "infection", "lung")]
    step_mm = 2 * PHANTOM.spacing_mm[0]
    slices = list(slices_of_volume(*files, neighbour_step_mm=step_mm))
    for below, own, above in zip(slices, slices[2:], slices[4:], strict=False):
        assert own.below is not None
        assert own.above is not None
        assert np.array_equal(own.below, below.grey)
        assert np.array_equal(own.above, above.grey)
    assert all(s.below is None for s in slices_of_volume(*files))


def test_volume_and_labels_that_do_not_belong_together(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", PHANTOM, "LPS")
    ct, infection = tmp_path / "a_ct.nii.gz", tmp_path / "a_infection.nii.gz"
    stored, affine = reorient(PHANTOM.infection * np.uint8(1), PHANTOM.spacing_mm, "LPS", (10.0, -20.0, 31.0))
    write_nifti(infection, stored, affine)
    with pytest.raises(DataError, match="lie on different grids; resample the labels") as caught:
        list(slices_of_volume(ct, infection))
    assert caught.value.code == 3113
    write_nifti(infection, stored[:-1], affine)
    with pytest.raises(
        DataError, match=r"a_infection.nii.gz is \(20, 72, 95\) .* the scan .*a_ct.nii.gz \(20, 72, 96\)"
    ):
        list(slices_of_volume(ct, infection))
    _, affine = reorient(PHANTOM.infection, PHANTOM.spacing_mm, "LPS")
    write_nifti(infection, np.where(stored, 1, np.nan).astype(np.float32), affine)
    with pytest.raises(InputError, match=r"a_infection.nii.gz .*NaN"):
        list(slices_of_volume(ct, infection))
    infection.unlink()
    with pytest.raises(DataError, match=r"a_ct.nii.gz has no mask: expected .*a_infection.nii.gz"):
        list(slices_of_volume(ct, infection))


def test_reserved_cases_are_never_written(sets: Path, tmp_path: Path) -> None:
    semiseg = sets / "covid-semiseg"
    grey, mask = blobs(5, (90, 80)), np.zeros((90, 80), np.uint8)
    for case in RESERVED:
        write_stored(semiseg / PSEUDO, f"Data-1_{case}-dcm_1", grey, mask)
        write_stored(semiseg / PSEUDO, f"Data-1_{case}_1", grey, mask)
        write_volume(sets / "radiopaedia-covid-volumes", f"radiopaedia_{case}", PHANTOM, "LPS")
    write_stored(semiseg / LABELLED, "coronacases_org_009_1", grey, mask)
    reserved = upright(
        read_grey(semiseg / PSEUDO / "Imgs/Data-1_coronacases_org_008_1.jpg"), "transpose_flip"
    )
    write_enhanced(sets / "coronacases-slices", "coronacases_008_0001", reserved)
    counts = prepare(sets, tmp_path / "out")
    assert (counts["labelled"], counts["pseudo"], counts["transferred"]) == (1, 2, 1)
    names = [p.name for p in (tmp_path / "out").rglob("*.png")]
    # Those of volumes have neighbours and classes.
    assert len(names) == 2 * sum(counts.values()) + 3 * counts["volumes"]
    assert not [name for name in names if any(case in name for case in RESERVED)]


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path, list[ByteArray]]:
    """Enhanced set, COVID-SemiSeg and its upright slices: case 003 has five, numbers 10 to 14."""
    semiseg, enhanced = tmp_path / "semiseg", tmp_path / "enhanced"
    uprights = []
    for i in range(5):
        stored = as_stored(blobs(i, (80, 90)), "transpose_flip")
        name = f"Data-1_coronacases_org_003_{10 + i}"
        write_stored(semiseg / PSEUDO, name, stored, np.zeros_like(stored))
        grey = read_grey(semiseg / PSEUDO / "Imgs" / f"{name}.jpg")
        uprights.append(upright(grey, "transpose_flip"))
    return enhanced, semiseg, uprights


def test_labels_move_to_the_right_slice_and_place(twins: tuple[Path, Path, list[ByteArray]]) -> None:
    enhanced, semiseg, uprights = twins
    truth = write_enhanced(enhanced, "coronacases_003_0002", uprights[3])
    (found,) = transfer_labels(enhanced, semiseg)
    assert found.name == "Data-1_coronacases_org_003_13"
    # Enlarged bilinearly and cut at half: the border is exact where it lies between two small pixels.
    assert np.array_equal(found.infection, truth)


def test_slices_without_a_twin_are_left_out(twins: tuple[Path, Path, list[ByteArray]]) -> None:
    enhanced, semiseg, uprights = twins
    write_enhanced(enhanced, "coronacases_003_0002", blobs(77, (80, 90)))  # no slice looks like it
    write_enhanced(enhanced, "coronacases_004_0002", uprights[0])  # a case that has no slices
    flat = np.full((90, 80), 90, np.uint8)  # correlates with everything, as OpenCV counts
    write_stored(semiseg / PSEUDO, "Data-1_coronacases_org_003_15", flat, flat)
    assert list(transfer_labels(enhanced, semiseg)) == []


def test_of_two_twins_the_more_alike_counts(twins: tuple[Path, Path, list[ByteArray]]) -> None:
    enhanced, semiseg, uprights = twins
    noisy = uprights[1] * 0.7 + blobs(55, (80, 90)) * 0.3
    write_enhanced(enhanced, "coronacases_003_0001", noisy.astype(np.uint8))
    write_picture(enhanced / "infection" / "coronacases_003_0001.png", np.full((70, 80), 255, np.uint8))
    truth = write_enhanced(enhanced, "coronacases_003_0002", uprights[1])
    (found,) = transfer_labels(enhanced, semiseg)
    assert np.array_equal(found.infection, truth)


def test_a_twin_without_labels_is_named(twins: tuple[Path, Path, list[ByteArray]]) -> None:
    enhanced, semiseg, uprights = twins
    write_enhanced(enhanced, "coronacases_003_0002", uprights[3])
    (enhanced / "infection" / "coronacases_003_0002.png").unlink()
    with pytest.raises(DataError, match=r"infection/coronacases_003_0002.png cannot be read"):
        list(transfer_labels(enhanced, semiseg))


def test_existing_output_is_refused_and_untouched(sets: Path, tmp_path: Path) -> None:
    kept = tmp_path / "out" / "pseudo" / "mine.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    with pytest.raises(DataError, match=r"out/pseudo exist already; give another --out") as caught:
        prepare(sets, tmp_path / "out")
    assert caught.value.code == 3115
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == [kept]


def test_nothing_appears_when_the_last_set_has_a_bad_file(sets: Path, tmp_path: Path) -> None:
    path = sets / "coronacases-slices" / "infection" / "coronacases_002_0005.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"coronacases_002_0005.png ends early"):
        prepare(sets, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    path.write_bytes(whole)
    assert prepare(sets, tmp_path / "out")["transferred"] == 1  # the way is free for the next attempt


def test_bad_sets_are_named(sets: Path, tmp_path: Path) -> None:
    mask = sets / "covid-semiseg" / PSEUDO / "GT" / f"{RADIO}.png"
    moved = mask.rename(tmp_path / "away.png")
    with pytest.raises(DataError, match=rf"{RADIO}.jpg has no mask: expected .*{RADIO}.png") as caught:
        prepare(sets, tmp_path / "out")
    assert caught.value.code == 3112
    moved.rename(mask)
    for path in (sets / "radiopaedia-covid-volumes").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no slices for volumes in"):
        prepare(sets, tmp_path / "out")
    with pytest.raises(DataError, match="expected the data set COVID-SemiSeg in"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_sets_that_are_not_there_are_left_out(sets: Path, tmp_path: Path) -> None:
    (sets / "radiopaedia-covid-volumes").rename(tmp_path / "a")
    (sets / "coronacases-slices").rename(tmp_path / "b")
    done = CliRunner().invoke(app, ["data", "prepare", str(sets), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [
        f"    1 slices  {tmp_path}/out/labelled",
        f"    2 slices  {tmp_path}/out/pseudo",
    ]


def test_the_command_reports_as_json(sets: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "prepare", str(sets), "--out", str(tmp_path / "out"), "--json"])
    report = json.loads(done.stdout)
    assert report["schema"] == "infnet.prepared/1"
    assert report["slices"]["pseudo"] == 2
    assert (tmp_path / "out" / "pseudo" / "Imgs" / f"{RADIO}.png").is_file()


def test_classes_of_the_labelled_slices_come_with_them(sets: Path, tmp_path: Path) -> None:
    semiseg = sets / "covid-semiseg"
    infection = read_grey(semiseg / LABELLED / "GT" / "0.png") > 128
    classes = np.where(infection, np.where(np.arange(90)[:, None] < 40, 1, 2), 0)
    picture = np.zeros((90, 80, 3), np.uint8)
    picture[classes == 1, 2] = picture[classes == 2, 1] = 128
    path = write_picture(semiseg / MULTI_CLASS / "GT" / "0.png", picture)
    prepare(sets, tmp_path / "out")
    assert np.array_equal(read_grey(tmp_path / "out" / "labelled" / "Classes" / "0.png"), classes.T)
    assert not (tmp_path / "out" / "pseudo" / "Classes").exists()
    write_picture(path, picture[::-1].copy())
    with pytest.raises(DataError, match="INF-3166.*MultiClassInfection-Train.GT.0.png and the mask of its"):
        prepare(sets, tmp_path / "turned")
    path.rename(path.with_name("1.png"))
    with pytest.raises(DataError, match="INF-3165.*has no class mask: expected"):
        prepare(sets, tmp_path / "missing")
    assert not (tmp_path / "missing" / "labelled").exists()


def test_classes_of_volumes_are_ignored_where_readers_differ(tmp_path: Path) -> None:
    write_volume(tmp_path, "a", PHANTOM, "LPI")
    stripes = np.resize(np.array([1, 2, 3], np.uint8), PHANTOM.infection.shape[2])
    first = np.where(PHANTOM.infection, stripes, 0).astype(np.uint8)
    second = np.roll(PHANTOM.infection, 2, axis=1).astype(np.uint8)
    second[np.flatnonzero(first.any(axis=(1, 2)))[0]] = 255  # not read
    for kind, array in (("infection", first), ("infection2", second)):
        write_nifti(tmp_path / f"a_{kind}.nii.gz", *reorient(array, PHANTOM.spacing_mm, "RAS"))
    ct, infection, lung, other = (
        tmp_path / f"a_{kind}.nii.gz" for kind in ("ct", "infection", "lung", "infection2")
    )
    meaning = LabelMeaning(infection=(3,), ground_glass=(1,), consolidation=(2,))
    made = list(slices_of_volume(ct, infection, lung, second_reader=other, meaning=meaning))
    disputed = (second != 255) & (PHANTOM.infection != (second == 1))
    box = lung_box(PHANTOM.lungs, PHANTOM.spacing_mm, PreprocessSpec().crop_margin_mm)
    ignored = 0
    for k, one in zip(np.flatnonzero((PHANTOM.lungs > 0).any(axis=(1, 2))), made, strict=True):
        assert one.classes is not None
        assert np.array_equal(one.classes, np.where(disputed, 255, first)[k][box])
        assert np.array_equal(one.infection > 0, PHANTOM.infection[k][box])
        ignored += int((one.classes == 255).sum())
    assert ignored > 0
    plain = slices_of_volume(ct, infection, lung, second_reader=other)
    for one, without in zip(made, plain, strict=True):
        assert without.classes is None
        assert np.array_equal(one.infection, without.infection)


@pytest.mark.data
def test_the_public_sets_give_the_known_slices(data_root: Path, tmp_path: Path) -> None:
    """All of the small sets, and of the transfer one case, because looking for twins takes longest."""
    sets = tmp_path / "sets"
    semiseg, case = data_root / "covid-semiseg", "coronacases_006"
    (sets / "covid-semiseg").mkdir(parents=True)
    (sets / "covid-semiseg" / "TrainingSet").symlink_to(semiseg / "TrainingSet")
    (sets / "radiopaedia-covid-volumes").symlink_to(data_root / "radiopaedia-covid-volumes")
    for kind in ("ct", "infection"):
        folder = sets / "coronacases-slices" / kind
        folder.mkdir(parents=True)
        for path in (data_root / "coronacases-slices" / kind).glob(f"{case}_*.png"):
            (folder / path.name).symlink_to(path)
    counts = prepare(sets, tmp_path / "out")
    assert counts == {"labelled": 50, "pseudo": 1007, "volumes": 115, "transferred": 7}


@pytest.mark.data
def test_the_newer_sets_give_the_known_slices(data_root: Path) -> None:
    manual = list(manual_slices(data_root / "covid-semiseg-manual", data_root / "covid-semiseg", step_mm=5.0))
    assert len(manual) == 568 + 7
    assert not [s.name for s in manual if is_reserved(s.name)]
    assert sum(s.below is not None and s.above is not None for s in manual) == 505
    normal = data_root / "iq-othnccd-normal"
    assert [len(list(normal_slices(normal, held_back=held))) for held in (False, True)] == [183, 43]
