"""Tiny copies of the public sets become stacks; what is reserved or measures a network does not train it."""

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from builders import chest_phantom
from infnet_train.data.lungs.sources import prepare_lungs
from infnet_train.data.lungs.stack import LungStack, read_stacks
from infnet_train.data.pictures import DataError

CHEST = chest_phantom(shape=(6, 72, 96), spacing_mm=(30.0, 4.5, 4.0))
LPS = np.diag([-4.0, -4.5, 30.0, 1.0])
GREY = np.clip((CHEST.hu + 1050.0) * (255 / 1300), 0, 255).astype(np.uint8)
LUNGS = np.asarray(CHEST.lungs > 0, np.uint8)


def save(path: Path, lps: npt.NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(lps.transpose(2, 1, 0)), LPS), path)


def volume(folder: Path, name: str) -> None:
    infection = np.zeros(LUNGS.shape, np.uint8)
    save(folder / f"{name}_ct.nii.gz", GREY)
    save(folder / f"{name}_lung.nii.gz", LUNGS)
    save(folder / f"{name}_infection.nii.gz", infection)


def picture(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(pixels))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[LungStack]]:
    data, out = tmp_path_factory.mktemp("sets"), tmp_path_factory.mktemp("out") / "lungs"
    volumes = data / "radiopaedia-covid-volumes"
    for name in ("7_85703_0", "4_85506_1", "27_86410_0"):
        volume(volumes, f"radiopaedia_{name}")
    for case in ("001", "002", "007"):
        for k in (2, 3):
            for part, pixels in (("ct", GREY[k]), ("lung", LUNGS[k] * 255), ("infection", LUNGS[k] * 0)):
                picture(data / "coronacases-slices" / part / f"coronacases_{case}_{k:04d}.png", pixels)
    rows = ["picture,case,source_slice,correlation,row,column,infection_pixels,lung_pixels,inside_lung"]
    semiseg = data / "covid-semiseg/TrainingSet/LungInfection-Train/Pseudo-label/Imgs"
    manual = data / "covid-semiseg-manual"
    for case in ("coronacases_org_001", "coronacases_org_007"):
        for k in (2, 3):
            name = f"Data-1_{case}_{k}"
            # Stored transposed and flipped: upright is .T[::-1]
            stored = [plane[::-1].T for plane in (GREY[k], LUNGS[k] * 255, LUNGS[k] * 0)]
            cv2.imwrite(str(_made(semiseg / f"{name}.jpg")), np.ascontiguousarray(stored[0]))
            picture(manual / "Lung" / f"{name}.png", stored[1])
            picture(manual / "GT" / f"{name}.png", stored[2])
            rows.append(f"{name},{case},{k},0.9,40,60,0,1,1.0")
    (manual / "pairs.csv").write_text("\n".join(rows))
    normal = data / "iq-othnccd-normal"
    groups = ["file,source_number,group,lung_mode,tissue_mode"]
    for group in range(10):
        picture(normal / "images" / f"n{group}.jpg", cv2.resize(GREY[3], (512, 512)))
        groups.append(f"n{group}.jpg,{group},{group},45,214")
    (normal / "slices.csv").write_text("\n".join(groups))
    save(data / "lungs-more" / "chest" / "mine.nii.gz", CHEST.hu)
    save(
        data / "lungs-more" / "empty" / "head.nii.gz",
        np.where(CHEST.lungs > 0, 30, CHEST.hu).astype(np.int16),
    )
    prepare_lungs(data, out)
    with pytest.raises(DataError, match="exists already"):
        prepare_lungs(data, out)
    return {part: read_stacks(out / part) for part in ("train", "validation")}


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_what_measures_a_network_does_not_train_it(made: dict[str, list[LungStack]]) -> None:
    train = {stack.name for stack in made["train"]}
    assert train == {
        "radiopaedia_7_85703_0",
        "enhanced_coronacases_001",
        "pictures_coronacases_001",
        *(f"normal_{k:03d}" for k in range(8)),
        "mine",
        "head",
        "hollow_bodies",
    }
    assert {stack.name for stack in made["validation"]} == {
        "radiopaedia_4_85506_1",
        "enhanced_coronacases_002",
        "normal_008",
        "normal_009",
    }


def test_reserved_cases_are_nowhere(made: dict[str, list[LungStack]]) -> None:
    names = " ".join(stack.name for part in made.values() for stack in part)
    assert "27_86410_0" not in names
    assert "007" not in names.replace("normal_007", "")


def test_every_source_is_upright_with_the_right_lung_on_the_left(made: dict[str, list[LungStack]]) -> None:
    for stack in (s for part in made.values() for s in part if s.kind != "empty"):
        rows, columns = np.nonzero((stack.sides == 1).any(axis=0)), np.nonzero((stack.sides == 2).any(axis=0))
        assert rows[1].mean() < columns[1].mean(), stack.name
        # Lungs are dark, whatever scale the source had.
        assert np.median(stack.hu[stack.sides > 0]) < -500, stack.name


def test_pictures_lie_where_they_were_cut_out(made: dict[str, list[LungStack]]) -> None:
    (stack,) = (s for s in made["train"] if s.kind == "pictures")
    scale = 320 / 512
    expected = [40 * scale, (40 + 72) * scale, 60 * scale, (60 + 96) * scale]
    assert np.abs(stack.seen - expected).max() <= 1
    assert not stack.is_ordered


def test_other_parts_of_the_body_are_empty(made: dict[str, list[LungStack]]) -> None:
    for stack in made["train"]:
        assert stack.sides.any() == (stack.kind != "empty"), stack.name


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no set with lung masks"):
        prepare_lungs(tmp_path, tmp_path / "out")
