"""The data check: what is there is counted, what is wrong is named, all of it."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from infnet_train.cli.main import app
from infnet_train.data.check import check_data
from infnet_train.data.class_check import ClassReport
from infnet_train.data.edges import EdgeDefinition, edges, write_edges
from infnet_train.data.masks import read_mask
from infnet_train.data.pictures import DataError
from train_slices import LABELLED, PSEUDO, write_picture, write_slice


def test_a_sound_folder(slices: Path) -> None:
    report = check_data(slices / "small")
    (folder,) = report.folders
    assert (folder.folder, folder.images, folder.masks, folder.pairs) == (".", 6, 6, 6)
    assert (folder.rows, folder.columns) == ((70, 70), (90, 90))
    assert (folder.labels, folder.label_values, folder.empty_masks) == ("hard", (0, 255), ())
    assert folder.edge_kind == "absent"
    assert report.overlap is None
    assert report.problems == ()


def test_soft_coloured_and_empty_labels(slices: Path) -> None:
    masks = slices / "small" / "GT"
    cv2.imwrite(str(masks / "s0.png"), np.zeros((70, 90), np.uint8))
    assert check_data(slices / "small").folders[0].empty_masks == ("s0",)
    cv2.imwrite(str(masks / "s1.png"), np.full((70, 90), 130, np.uint8))
    assert check_data(slices / "small").folders[0].labels == "soft"
    cv2.imwrite(str(masks / "s2.png"), np.full((70, 90, 3), (0, 0, 255), np.uint8))
    assert check_data(slices / "small").folders[0].labels == "colour"


@pytest.mark.parametrize("definition", ["gradient", "canny"])
def test_edges_by_each_definition_and_by_another(slices: Path, definition: EdgeDefinition) -> None:
    small = slices / "small"
    write_edges(small, definition)
    folder = check_data(small).folders[0]
    by_gradient, by_canny = (6, 0) if definition == "gradient" else (0, 6)
    assert (folder.edge_kind, folder.edges) == (definition, 6)
    assert (folder.edges_as_gradient, folder.edges_as_canny) == (by_gradient, by_canny)
    write_picture(small / "Edge" / "s0.png", np.full((70, 90), 255, np.uint8))
    folder = check_data(small).folders[0]
    assert folder.edge_kind == "other"
    assert folder.edges_as_gradient + folder.edges_as_canny == 5
    write_picture(small / "Edge" / "s1.png", np.zeros((70, 91), np.uint8))
    (problem,) = check_data(small).problems
    assert (problem.code, problem.file) == (3113, "Edge/s1.png")
    assert problem.message == "is (70, 91), its mask is (70, 90); expected equal sizes"


def test_the_command_writes_edges_where_there_are_none(slices: Path) -> None:
    small = slices / "small"
    command = ["data", "edges", str(small), "--definition", "canny"]
    done = CliRunner().invoke(app, command)
    assert done.stdout == f"{small}/Edge: 6 edge maps written (canny), 0 were there\n"
    for path in (small / "GT").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        edge = cv2.imread(str(small / "Edge" / path.name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(edge, edges(mask > 128, "canny") * np.uint8(255))
    (small / "Edge" / "s2.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in (small / "Edge").iterdir()}
    report = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (report["definition"], report["written"], report["kept"]) == ("canny", 1, 5)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_edges_of_another_definition_are_not_overwritten_nor_mixed(slices: Path) -> None:
    small = slices / "small"
    write_edges(small, "canny")
    (small / "Edge" / "s0.png").unlink()
    with pytest.raises(DataError, match=r"Edge/s1.png is there and is not the gradient edge") as caught:
        write_edges(small, "gradient")
    assert caught.value.code == 3117
    assert len(list((small / "Edge").iterdir())) == 5


def test_edges_of_bad_masks_are_not_written(slices: Path) -> None:
    small = slices / "small"
    (small / "GT" / "s4.png").unlink()
    with pytest.raises(DataError, match=r"Imgs/s4.png has no mask: expected .*GT/s4.png"):
        write_edges(small, "gradient")
    assert not (small / "Edge").exists()
    with pytest.raises(DataError, match="no slices in .*Imgs"):
        write_edges(slices, "gradient")


def test_every_problem_is_collected_and_the_command_leaves_with_3(slices: Path) -> None:
    small = slices / "small"
    truncated = (small / "Imgs" / "s0.png").read_bytes()
    (small / "Imgs" / "s0.png").write_bytes(truncated[: len(truncated) // 2])
    flipped = bytearray((small / "GT" / "s1.png").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (small / "GT" / "s1.png").write_bytes(flipped)
    (small / "GT" / "s2.png").unlink()
    (small / "Imgs" / "s3.png").unlink()
    cv2.imwrite(str(small / "GT" / "s4.png"), np.zeros((70, 91), np.uint8))
    cv2.imwrite(str(small / "Imgs" / "s5.png"), np.zeros((70, 90), np.uint16))
    (small / "Imgs" / "s6.jpg").write_bytes(b"")
    done = CliRunner().invoke(app, ["data", "check", str(small), "--json"])
    assert isinstance(done.exception, DataError)
    assert (done.exception.code, done.exception.exit_code) == (3139, 3)
    found = {(p["file"], p["code"]): p["message"] for p in json.loads(done.stdout)["problems"]}
    assert set(found) == {
        ("Imgs/s0.png", 3114),
        ("GT/s1.png", 3114),
        ("Imgs/s2.png", 3112),
        ("GT/s3.png", 3132),
        ("Imgs/s4.png", 3113),
        ("Imgs/s5.png", 3134),
        ("Imgs/s6.jpg", 3112),
        ("Imgs/s6.jpg", 3114),
    }
    assert found["Imgs/s0.png", 3114] == "ends early; copy or export it again"
    assert "the checksum of its part b'IDAT' is wrong" in found["GT/s1.png", 3114]
    assert found["Imgs/s2.png", 3112] == f"has no mask: expected {small}/GT/s2.png"
    assert found["GT/s3.png", 3132] == "no slice of this name, expected Imgs/s3.jpg and a .png mask"
    assert found["Imgs/s4.png", 3113] == "is (70, 90), its mask is (70, 91); expected equal sizes"
    assert found["Imgs/s5.png", 3134] == "has 16 bits per pixel, expected 8-bit grey, 0..255; convert it"
    assert found["Imgs/s6.jpg", 3114] == "is empty; copy or export it again"


def test_a_truncated_jpeg_is_seen_although_a_decoder_would_fill_it(slices: Path) -> None:
    path = slices / "small" / "Imgs" / "s0.jpg"
    (slices / "small" / "Imgs" / "s0.png").unlink()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (70, 90), np.uint8))
    assert check_data(slices / "small").problems == ()
    path.write_bytes(path.read_bytes()[:-100])
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.file) == (3114, "Imgs/s0.jpg")


def test_two_slices_of_one_name(slices: Path) -> None:
    write_picture(slices / "small" / "Imgs" / "s0.jpg", np.arange(6300, dtype=np.uint8).reshape(70, 90))
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.file) == (3116, "Imgs/s0.png")
    assert problem.message == "has one name with s0.jpg and would share its mask; remove one"


def test_an_empty_folder_of_slices(slices: Path) -> None:
    for path in (slices / "small").rglob("*.png"):
        path.unlink()
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.file) == (3111, "Imgs")


def test_slices_in_colour_are_a_problem_and_grey_in_three_channels_is_none(slices: Path) -> None:
    path = slices / "small" / "Imgs" / "s0.png"
    grey = cv2.imread(str(path), cv2.IMREAD_COLOR)
    write_picture(path, grey)
    assert check_data(slices / "small").problems == ()
    grey[3, 3] = (0, 0, 255)
    write_picture(path, grey)
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.message[:12]) == (3134, "is in colour")


def test_labels_that_are_said_to_be_hard(slices: Path) -> None:
    small = slices / "small"
    assert check_data(small, hard_labels=True).problems == ()
    mask = cv2.imread(str(small / "GT" / "s1.png"), cv2.IMREAD_UNCHANGED)
    mask[:2, :3] = [[7, 7, 90], [200, 254, 255]]
    mask[2, :20] = np.arange(100, 120)
    write_picture(small / "GT" / "s1.png", mask)
    write_picture(small / "GT" / "s2.png", mask.astype(np.uint16) * 257)
    done = CliRunner().invoke(app, ["data", "check", str(small), "--hard", "--json"])
    problems = json.loads(done.stdout)["problems"]
    assert [(p["file"], p["code"]) for p in problems] == [("GT/s1.png", 3137), ("GT/s2.png", 3134)]
    assert problems[0]["message"].startswith(
        "has 24 values between 0 and 255 (from 7 to 254), expected 0 and"
    )
    assert [p.code for p in check_data(small).problems] == [3134]  # soft labels are no problem by themselves


def test_slices_of_reserved_cases_are_counted_and_are_no_problem(tmp_path: Path) -> None:
    names = ("Data-1_coronacases_org_006_1", "Data-1_coronacases_org_007_1", "x_36_86526_0-dcm_5")
    for seed, name in enumerate(names):
        write_slice(tmp_path / PSEUDO, name, seed=seed)
    write_slice(tmp_path / LABELLED, "7", seed=9)
    report = check_data(tmp_path)
    assert [(Path(f.folder), f.reserved) for f in report.folders] == [(LABELLED, 0), (PSEUDO, 2)]
    assert report.problems == ()
    line = f"slices of reserved cases, to be left out of any model that is shipped: 2 in {PSEUDO.as_posix()}"
    assert f"reserved   {line}" in report.to_text().splitlines()


def test_masks_of_0_and_1_are_no_problem(slices: Path) -> None:
    for path in (slices / "small" / "GT").glob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255)
    report = check_data(slices / "small", hard_labels=True)
    assert report.problems == ()
    assert (report.folders[0].labels, report.folders[0].label_values) == ("hard", (0, 1))
    assert report.folders[0].empty_masks == ()


def test_masks_that_can_mean_several_things_are_a_problem_of_their_folder(slices: Path) -> None:
    masks = slices / "small" / "GT"
    cv2.imwrite(str(masks / "s0.png"), np.eye(70, 90, dtype=np.uint8))
    (problem,) = check_data(slices / "small").problems
    assert (problem.code, problem.file) == (3144, "GT")
    assert "hold the labels 1 (s0.png), 255 (s1.png) besides 0" in problem.message


def test_training_and_testing_that_share_a_slice(tmp_path: Path) -> None:
    training, testing = (tmp_path / part / "Lung" for part in ("TrainingSet", "TestingSet"))
    for i in range(3):
        write_slice(training, f"a{i}", seed=i)
        write_slice(testing, f"b{i}", seed=10 + i)
    report = check_data(tmp_path)
    assert [(f.folder, f.part) for f in report.folders] == [
        ("TestingSet/Lung", "testing"),
        ("TrainingSet/Lung", "training"),
    ]
    assert (report.overlap, report.problems) == ((), ())
    shutil.copy(training / "Imgs" / "a1.png", testing / "Imgs" / "b2.png")
    report = check_data(tmp_path)
    assert report.overlap == (("TrainingSet/Lung/Imgs/a1.png", "TestingSet/Lung/Imgs/b2.png"),)
    assert [p.code for p in report.problems] == [3136]
    assert "overlap    1 slices both in training and in testing" in report.to_text()


def test_a_folder_without_slices(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="INF-3130.*no folder Imgs or GT in .* expected the root of"):
        check_data(tmp_path)


def test_text_of_a_sound_folder(slices: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(slices)])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "folder     small (unknown)",
        "  slices   6, masks 6, pairs 6; 70-70 rows x 90-90 columns",
        "  labels   hard 0..255, 0 empty",
        "  edges    absent; the training makes its own from the masks",
        "  lungs    side by side, as stored",
        "reserved   no slice of a reserved case",
        "problems   none",
    ]


def split_classes(folder: Path, number: int) -> npt.NDArray[np.uint8]:
    mask = cv2.imread(str(folder / "GT" / f"s{number}.png"), cv2.IMREAD_GRAYSCALE) > 0
    classes = np.where(np.arange(mask.shape[1]) % 2 == 0, 1, 2) * mask
    (folder / "Classes").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "Classes" / f"s{number}.png"), classes)
    return classes.astype(np.uint8)


def test_class_masks_are_counted_and_looked_at(slices: Path) -> None:
    small = slices / "small"
    found = [split_classes(small, number) for number in range(6)]
    cv2.imwrite(str(small / "Classes" / "s5.png"), np.where(found[5] > 0, 3, 0))
    report = check_data(small)
    assert report.problems == ()
    assert report.folders[0].classes == ClassReport("Classes", 6, 5, 5, 1, 0)
    line = (
        '  classes  6 in Classes (classes = "Classes"); ground glass in 5, consolidation in 5, unknown class '
        "in 1, ignored pixels in 0"
    )
    assert line in report.to_text().splitlines()
    assert report.to_dict()["folders"][0]["classes"]["consolidation"] == 5
    cv2.imwrite(str(small / "Classes" / "s4.png"), found[4][:, ::-1])
    cv2.imwrite(str(small / "Classes" / "s3.png"), found[3][:-1])
    (small / "Classes" / "s2.png").rename(small / "Classes" / "s9.png")
    problems = {(p.code, p.file) for p in check_data(small).problems}
    assert problems == {
        (3165, "Imgs/s2.png"),
        (3113, "Imgs/s3.png"),
        (3166, "Imgs/s4.png"),
        (3132, "Classes/s9.png"),
    }
    cv2.imwrite(str(small / "Classes" / "s0.png"), found[0] * 127)
    stretched = [p for p in check_data(small).problems if p.code == 3164]
    assert [p.file for p in stretched] == ["Classes"]
    assert "127 (s0.png)" in stretched[0].message


def test_masks_in_the_colours_of_classes_are_counted(slices: Path) -> None:
    small = slices / "small"
    for number in range(6):
        classes = split_classes(small, number)
        picture = np.zeros((*classes.shape, 3), np.uint8)
        picture[classes == 1, 2] = picture[classes == 2, 1] = 128
        cv2.imwrite(str(small / "GT" / f"s{number}.png"), picture)
        (small / "Classes" / f"s{number}.png").unlink()
    (small / "Classes").rmdir()
    (folder,) = check_data(small).folders
    assert (folder.labels, folder.classes) == ("colour", ClassReport("GT", 6, 6, 6, 0, 0))
    assert "  labels   colour: classes" in check_data(small).to_text().splitlines()
    with pytest.raises(DataError, match='INF-3144.*, or classes = "GT" if 1 is ground glass'):
        read_mask(small / "GT" / "s0.png")


@pytest.mark.data
@pytest.mark.slow
def test_the_released_data_are_sound_and_their_edges_are_of_two_definitions(data_root: Path) -> None:
    report = check_data(data_root / "covid-semiseg" / "TrainingSet" / "LungInfection-Train")
    assert report.problems == ()
    found = {f.folder: (f.pairs, f.edge_kind, f.edges, f.reserved) for f in report.folders}
    assert found == {
        "Doctor-label": (50, "gradient", 50, 0),
        "Pseudo-label": (1600, "canny", 1600, 593),
        "Pseudo-label/DataPrepare/Hybrid-label": (50, "gradient", 50, 0),
    }
    report = check_data(data_root / "covid-semiseg" / "TestingSet" / "LungInfection-Test", hard_labels=True)
    assert (report.folders[0].pairs, report.problems) == (48, ())
