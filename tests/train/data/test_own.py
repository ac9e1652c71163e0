"""A user's own pictures and volumes become what training reads, split by patient, or are refused."""

import json
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from builders import chest_phantom, reorient, write_nifti
from infnet_train.cli.main import app
from infnet_train.data.check import check_data
from infnet_train.data.masks import LabelMeaning, read_labelled
from infnet_train.data.own import OwnData, Split, own_data, patient_of, prepare_own
from infnet_train.data.pictures import DataError, Turn, read_grey
from train_slices import write_picture, write_slice

PHANTOM = chest_phantom()
RULED = LabelMeaning((1,), (255,))


def pictures(root: Path, patients: int = 5, images: str = "images", masks: str = "masks") -> Path:
    """Two slices of each patient, whole fields of view."""
    for p in range(patients):
        for n in (1, 2):
            write_slice(root / "made", f"p{p}_{n:03d}", seed=10 * p + n)
    for kind, name in (("Imgs", images), ("GT", masks)):
        for path in (root / "made" / kind).iterdir():
            large = cv2.resize(read_grey(path), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
            padded = np.pad(large, 90, constant_values=210 if kind == "Imgs" else 0)
            write_picture(root / "mine" / name / path.name, padded)
    return root / "mine"


@pytest.mark.parametrize(
    ("images", "name"), [("images", "p1.nii.gz"), ("imagesTr", "p1_0000.nii"), ("Imgs", "x.nii")]
)
def test_volumes_where_slices_are_expected_are_told_from_nothing(
    images: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / images).mkdir()
    (tmp_path / images / name).touch()
    told = "it holds NIfTI volumes, expected pictures: infnet-train data prepare makes slices of volumes"
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        read_labelled(tmp_path, "none")
    assert caught.value.code == 3111
    (problem,) = check_data(tmp_path).problems
    assert (problem.code, told in problem.message) == (3111, True)
    (tmp_path / images / name).unlink()
    with pytest.raises(DataError, match="expected Imgs/<name>.jpg and GT/<name>.png"):
        read_labelled(tmp_path, "none")


def opened(data: Path, meaning: LabelMeaning | None = None) -> OwnData:
    return own_data(data, (), (), meaning or LabelMeaning(), "none", 5.0)


def volume(root: Path, name: str, labels: np.ndarray | None = None, code: str = "LPS") -> tuple[Path, Path]:
    root.mkdir(parents=True, exist_ok=True)
    found = PHANTOM.infection.astype(np.uint8) if labels is None else labels
    return (
        write_nifti(root / f"{name}.nii.gz", *reorient(PHANTOM.hu, PHANTOM.spacing_mm, code)),
        write_nifti(root / f"{name}_mask.nii.gz", *reorient(found, PHANTOM.spacing_mm, "RAS")),
    )


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("Imgs", "GT"), ("imagesTr", "labelsTr")])
def test_pictures_are_cut_at_the_lungs_and_split_by_patient(tmp_path: Path, images: str, masks: str) -> None:
    data = pictures(tmp_path, images=images, masks=masks)
    counts = prepare_own(opened(data), tmp_path / "out", Split(0.2, 0.2))
    assert counts == {"train": 6, "validation": 2, "test": 2}
    patients = {
        part: {patient_of(path) for path in (tmp_path / "out" / part / "Imgs").iterdir()} for part in counts
    }
    assert sum(len(names) for names in patients.values()) == 5  # nobody is in two parts
    infected = 0
    for part in counts:
        for name, grey, truth in read_labelled(tmp_path / "out" / part, "none"):
            whole = read_grey(data / images / f"{name}.png")
            assert grey.shape < whole.shape
            infected += int(truth.sum())
    assert infected == sum(int((read_grey(path) > 128).sum()) for path in (data / masks).iterdir())
    about = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert {part: set(names) for part, names in about["patients"].items()} == patients


def test_the_split_stays_the_same_and_leaves_somebody_to_train_on(tmp_path: Path) -> None:
    names = [f"p{i}" for i in range(20)]
    parts = Split(0.1, 0.2).parts(names)
    assert {part: len(chosen) for part, chosen in parts.items()} == {"train": 14, "validation": 2, "test": 4}
    assert Split(0.1, 0.2).parts(names[::-1]) == parts
    assert Split().parts(["a"]) == {"train": ["a"]}
    with pytest.raises(
        DataError, match=r"1 patients \(case, ...\) cannot be split .* expected at least 2"
    ) as caught:
        Split(test=0.2).parts(["case"] * 9)
    assert caught.value.code == 3149


@pytest.mark.parametrize("code", ["LPS", "RAI"])
def test_a_volume_and_its_mask(tmp_path: Path, code: str) -> None:
    ct, mask = volume(tmp_path, "p07", code=code)
    arguments = ["--volume", str(ct), "--mask", str(mask), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["data", "prepare", *arguments])
    assert done.exit_code == 0, done.output
    assert f"slices  {tmp_path / 'out' / 'train'}" in done.stdout
    found = sum(int(truth.sum()) for _, _, truth in read_labelled(tmp_path / "out" / "train", "none"))
    assert found == PHANTOM.infection.sum()
    assert (tmp_path / "out" / "train" / "Below").is_dir()
    about = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert about["neighbour_step_mm"] == 5.0


def test_a_folder_of_volumes_in_the_names_of_nnu_net(tmp_path: Path) -> None:
    for n in range(3):
        ct, mask = volume(tmp_path, f"lung_{n:03d}")
        (tmp_path / "mine" / "imagesTr").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / "labelsTr").mkdir(parents=True, exist_ok=True)
        ct.rename(tmp_path / "mine" / "imagesTr" / f"lung_{n:03d}_0000.nii.gz")
        mask.rename(tmp_path / "mine" / "labelsTr" / f"lung_{n:03d}.nii.gz")
    counts = prepare_own(opened(tmp_path / "mine"), tmp_path / "out", Split(test=0.3))
    assert counts["train"] == 2 * counts["test"]
    (tmp_path / "mine" / "labelsTr" / "lung_001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"lung_001_0000.nii.gz has no mask: expected .*lung_001.nii.gz"):
        opened(tmp_path / "mine")


def labels(*values: int) -> np.ndarray:
    """The infection of the phantom in stripes of several labels."""
    stripes = np.resize(np.array(values, np.uint8), PHANTOM.infection.shape[2])
    return np.where(PHANTOM.infection, stripes, 0).astype(np.uint8)


def test_labels_of_volumes_are_named_by_the_user(tmp_path: Path) -> None:
    pair = volume(tmp_path, "a", labels(1, 2, 255))
    own = own_data(None, pair[:1], pair[1:], LabelMeaning(), "none", 5.0)
    with pytest.raises(
        DataError, match=r"hold the labels 1 \(a_mask.nii.gz\), 2 .*, 255 .*by --infection"
    ) as caught:
        prepare_own(own, tmp_path / "out", Split())
    assert caught.value.code == 3144
    assert not (tmp_path / "out").exists()
    own = own_data(None, pair[:1], pair[1:], RULED, "none", 5.0)
    prepare_own(own, tmp_path / "out", Split())
    stored = labels(1, 2, 255)
    for kind, value in (("GT", 1), ("Ignore", 255)):
        found = sum(int((read_grey(p) > 0).sum()) for p in (tmp_path / "out/train" / kind).iterdir())
        assert found == (stored == value).sum()


def test_labels_of_pictures_are_named_by_the_user(tmp_path: Path) -> None:
    data = pictures(tmp_path)
    marked = {1: 0, 255: 0}
    for path in (data / "masks").iterdir():
        mask = (read_grey(path) > 128).astype(np.uint8)
        mask[:, ::2] *= 255
        write_picture(path, mask)
        for value in marked:
            marked[value] += int((mask == value).sum())
    with pytest.raises(DataError, match="hold the labels 1 .*, 255 .* --ignore"):
        prepare_own(opened(data), tmp_path / "out", Split())
    prepare_own(opened(data, RULED), tmp_path / "out", Split())
    for kind, value in (("GT", 1), ("Ignore", 255)):
        found = sum(int((read_grey(p) > 0).sum()) for p in (tmp_path / "out/train" / kind).iterdir())
        assert found == marked[value]


def test_inverted_masks_of_volumes_are_refused(tmp_path: Path) -> None:
    ct, mask = volume(tmp_path, "a", (~PHANTOM.infection).astype(np.uint8))
    with pytest.raises(DataError, match="marks more than half of the volume as infection") as caught:
        prepare_own(own_data(None, [ct], [mask], LabelMeaning(), "none", 5.0), tmp_path / "out", Split())
    assert caught.value.code == 3145


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--volume", "a.nii.gz"], 3150, "1 times --volume and 0 times --mask"),
        ([], 3150, "0 times --volume"),
        (["--volume", "a.nii.gz", "--mask", "gone.nii.gz"], 3150, "gone.nii.gz is no NIfTI file"),
        (["mine", "--mask", "a.nii.gz"], 3150, "stand in place of mine"),
        (["."], 3111, "holds neither the public sets .* nor own data"),
        (["public", "--test", "0.2"], 3150, "--test hold for own data"),
    ],
)
def test_what_does_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    volume(tmp_path, "a")
    pictures(tmp_path)
    (tmp_path / "public" / "covid-semiseg").mkdir(parents=True)
    done = CliRunner().invoke(app, ["data", "prepare", *arguments, "--out", "out"])
    assert isinstance(done.exception, DataError)
    assert done.exception.code == code
    assert done.exception.args[0].find(text.split(" .* ")[0]) >= 0
    assert not (tmp_path / "out").exists()


def test_two_volumes_of_one_name_would_replace_each_other(tmp_path: Path) -> None:
    pairs = [volume(tmp_path / side, "ct") for side in ("a", "b")]
    own = own_data(None, [p[0] for p in pairs], [p[1] for p in pairs], LabelMeaning(), "none", 5.0)
    with pytest.raises(DataError, match="ct is the name of several volumes") as caught:
        prepare_own(own, tmp_path / "out", Split())
    assert caught.value.code == 3150


def test_pictures_are_turned_and_those_without_lung_stay_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = pictures(tmp_path, patients=1)
    for path in data.rglob("*.png"):
        cv2.imwrite(str(path), np.ascontiguousarray(read_grey(path).T))
    own = own_data(data, (), (), LabelMeaning(), "transpose", 5.0)
    prepare_own(own, tmp_path / "out", Split())
    _, grey, _ = next(iter(read_labelled(tmp_path / "out" / "train", "none")))
    assert grey.shape[1] > grey.shape[0]
    for path in (data / "images").iterdir():
        write_picture(path, np.full_like(read_grey(path), 200))
    with caplog.at_level(logging.WARNING):
        prepare_own(own, tmp_path / "other", Split())
    assert "no lung was found in 2 pictures" in caplog.text


CLASSES = LabelMeaning(infection=(7,), ignored=(255,), ground_glass=(1, 4), consolidation=(2,))
MEANT = {1: 1, 4: 1, 2: 2, 7: 3, 255: 255}


def class_counts(folder: Path) -> dict[int, int]:
    found = np.concatenate([read_grey(path).ravel() for path in (folder / "Classes").iterdir()])
    return {int(value): int((found == value).sum()) for value in np.unique(found) if value}


def assert_they_fit(folder: Path) -> None:
    (report,) = check_data(folder).folders
    assert check_data(folder).problems == ()
    assert report.classes is not None
    assert report.classes.masks == report.pairs == report.images


def test_classes_of_volumes_are_named_by_the_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = labels(1, 2, 4, 7, 255)
    pair = volume(tmp_path, "a", stored, "RAI")
    own = own_data(None, pair[:1], pair[1:], CLASSES, "none", 5.0)
    caplog.set_level(logging.WARNING)
    prepare_own(own, tmp_path / "out", Split())
    assert not caplog.records
    expected = dict.fromkeys((1, 2, 3, 255), 0)
    for value, label in MEANT.items():
        expected[label] += int((stored == value).sum())
    assert class_counts(tmp_path / "out" / "train") == expected
    assert_they_fit(tmp_path / "out" / "train")


@pytest.mark.parametrize("turn", ["none", "transpose"])
def test_classes_of_pictures_are_named_by_the_user(tmp_path: Path, turn: Turn) -> None:
    data = pictures(tmp_path)
    expected = dict.fromkeys((1, 2, 3, 255), 0)
    for path in (data / "masks").iterdir():
        inside = read_grey(path) > 128
        mask = (inside * np.resize(np.array([1, 2, 4, 7, 255]), inside.shape[1])).astype(np.uint8)
        write_picture(path, mask if turn == "none" else mask.T)
        for value, label in MEANT.items():
            expected[label] += int((mask == value).sum())
        if turn != "none":
            image = data / "images" / path.name
            write_picture(image, read_grey(image).T)
    prepare_own(own_data(data, (), (), CLASSES, turn, 5.0), tmp_path / "out", Split())
    assert class_counts(tmp_path / "out" / "train") == expected
    assert_they_fit(tmp_path / "out" / "train")


def test_colours_of_pictures_are_the_numbers_of_their_palette(tmp_path: Path) -> None:
    data = pictures(tmp_path)
    paths = sorted((data / "masks").iterdir())
    for number, path in enumerate(paths):
        inside = read_grey(path) > 128
        colour = ((0, 0, 128), (0, 128, 0))[number % 2]  # blue, green, red
        write_picture(path, (inside[..., None] * np.array(colour)).astype(np.uint8))
    meaning = LabelMeaning(ground_glass=(1,), consolidation=(2,))
    prepare_own(opened(data, meaning), tmp_path / "out", Split())
    assert set(class_counts(tmp_path / "out" / "train")) == {1, 2}
    write_picture(
        paths[0], np.full((*read_grey(data / "images" / paths[0].name).shape, 3), (9, 0, 0), np.uint8)
    )
    with pytest.raises(DataError, match=rf"INF-3164.*{paths[0].name} has a colour that is no number"):
        prepare_own(opened(data, meaning), tmp_path / "again", Split())


def test_labels_beside_the_named_classes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair = volume(tmp_path, "a", labels(1, 2, 9))
    meaning = LabelMeaning(ground_glass=(1,), consolidation=(5,))
    caplog.set_level(logging.WARNING)
    prepare_own(own_data(None, pair[:1], pair[1:], meaning, "none", 5.0), tmp_path / "out", Split())
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("labels that were not named are taken as healthy: 2 (a_mask.nii.gz), 9 (a_mask")
    assert second == "no mask has the label 5 that was named"


def test_the_command_line_names_classes(tmp_path: Path) -> None:
    ct, mask = volume(tmp_path, "a", labels(1, 2))
    arguments = ["data", "prepare", "--volume", str(ct), "--mask", str(mask), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--ground-glass", "1", "--consolidation", "2"])
    assert done.exit_code == 0
    assert set(class_counts(tmp_path / "out" / "train")) == {1, 2}
    (tmp_path / "sets" / "covid-semiseg").mkdir(parents=True)
    arguments = ["data", "prepare", str(tmp_path / "sets"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--ground-glass", "1"])
    assert isinstance(done.exception, DataError)
    assert "--ground-glass hold for own data" in str(done.exception)
