"""Small inputs under the names that the documentation uses, and the commands that it prints."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import cv2
import numpy as np

import dicom_world
from builders import RIGHT, chest_phantom, reorient, write_nifti
from infnet_runtime import Intensity
from infnet_runtime.model.specs import PreprocessSpec
from infnet_runtime.slices.preprocess import to_grey
from tiny_models import classes_detector, mid_grey_detector
from train_slices import LABELLED, PSEUDO, write_picture, write_slice
from twin import random_network, write_weights

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "train" / "configs"
# Programs whose lines in a code block are run. What makes an environment is typed by test_readme.py.
PROGRAMS = ("infnet-infer", "infnet-train", "infnet-export", "python", "just", "torchrun")
_OTHER_COMMANDS = {"average", "data", "eval", "calibrate", "lungs", "keys"}  # of infnet-train
TINY = "tiny.onnx"  # what scans are segmented with: the shipped model would take minutes
WITH_CLASSES = "classes.onnx"
SHIPPED = "shipped/infnet.onnx"  # tiny too, and what comes of it has the names that pages go on with


# For pip: little of what is installed runs, and is compiled then. 0 sets ``compile`` to 0, as pip reads it.
NO_BYTECODE = {**os.environ, "PIP_NO_COMPILE": "0"}


def pages() -> list[Path]:
    """All documentation, the log of changes aside."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    return sorted(ROOT / name for name in names if name and name != "CHANGELOG.md")


def commands(page: Path) -> list[str]:
    """Lines of a page's code blocks that call one of the programs, continued lines joined, comments off."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            plain = re.sub(r"\s#\s.*", "", line).strip().removeprefix("$ ")
            if plain.split(" ")[0] in PROGRAMS:
                found.append(plain)
    return found


def marked_command(page: Path, name: str) -> str:
    """The block after ``<!-- command: NAME -->``: what sets up an environment, typed by a test of its own."""
    found = re.search(rf"^<!-- command: {name} -->\n```\w*\n(.*?)\n```", page.read_text("utf-8"), re.M | re.S)
    assert found, f"{page.name} has no command marked '{name}'"
    return found[1]


def copy_of_the_tree(target: Path) -> Path:
    """What is in the repository, or would be, without anything that was built."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def files(page: Path) -> dict[str, str]:
    """Name to content of what a page tells to write: the blocks after ``<!-- file: NAME -->``."""
    return dict(re.findall(r"^<!-- file: (\S+) -->\n```\w*\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))


def listings(page: Path, language: str) -> list[str]:
    """The blocks of a language that are no whole file."""
    return re.findall(rf"(?<! -->\n)^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def dicom_forms(folder: Path) -> None:
    """The series of the world as an archive and as one object."""
    with zipfile.ZipFile(folder / "scan.zip", "w") as packed:
        for path in sorted((folder / "CT").iterdir()):
            packed.write(path, path.name)
    dicom_world.write(
        folder, [dicom_world.enhanced(dicom_world.slices(chest_phantom()))], names="enhanced.dcm"
    )


def make_world(folder: Path) -> None:
    """Scans, weights and data sets that the pages name, each as small as its command allows."""
    phantom = chest_phantom()
    hu, affine = reorient(phantom.hu, phantom.spacing_mm, "LPS")
    scans = (
        "scan",
        "SCANS/one",
        "VOLUMES/one",
        "VOLUMES/two",
        "patients/a/ct",
        "patients/b/ct",
        "a/ct",
        "b/ct",
    )
    for name in scans:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(folder / f"{name}.nii.gz", hu, affine)
    dicom_world.write(folder / "CT", dicom_world.slices(phantom))
    lungs, _ = reorient(phantom.lungs, phantom.spacing_mm, "LPS")
    write_nifti(folder / "mask.nii.gz", lungs, affine)
    mid_grey_detector(folder / TINY)
    classes_detector(folder / WITH_CLASSES)
    (folder / SHIPPED).parent.mkdir()
    mid_grey_detector(folder / SHIPPED)
    write_weights(random_network(), folder / "weights.safetensors")
    for number in (1, 2, 3, *range(49, 59)):  # the last ten validate default.toml
        write_slice(folder / "COVID-SemiSeg" / LABELLED, str(number), seed=number)
    for patient in range(1, 7):
        write_slice(folder / "COVID-SemiSeg" / PSEUDO, f"Data-1_coronacases_org_00{patient}_17", seed=patient)
    for case in ("7_85703_0", "10_85902_1"):
        name = f"Data-1_radiopaedia_org_covid-19-pneumonia-{case}-dcm_3"
        write_slice(folder / "COVID-SemiSeg" / PSEUDO, name, seed=70)
    for number in range(4):
        write_slice(folder / "COVID-SemiSeg/TestingSet/LungInfection-Test", str(number), seed=80 + number)
    (folder / "DATA").mkdir()
    (folder / "DATA/covid-semiseg").symlink_to("../COVID-SemiSeg")
    for number in range(14):
        for name in ("VALIDATION_FOLDER", "TRAINING_SLICES", "FOLDER"):
            write_slice(folder / name, f"s{number}", seed=100 + number)


def shortened(command: str, folder: Path) -> str:
    """A training of minutes or days with one step of small pictures a stage; other commands as they are."""
    # bf16 takes minutes where a processor has no units for it.
    words = shlex.split(
        command.replace(" --precision bf16", "").replace("--nproc-per-node 4", "--nproc-per-node 2")
    )
    if words[0] not in ("infnet-train", "torchrun") or set(words) & _OTHER_COMMANDS:
        return command
    recipe = Path(words[words.index("--config") + 1] if "--config" in words else "default.toml")
    with next(p / recipe for p in (folder, CONFIGS) if (p / recipe).is_file()).open("rb") as file:
        values = tomllib.load(file)
    changes = ["sizes=[32]", "epochs=1", "batch_size=256", "preprocess.size=32"]
    changes += [f"sources.{source['name']}.draws=4" for source in values["sources"] if "draws" in source]
    for name, stage in values.get("stages", {}).items():
        drawn = [key for key, changed in stage.get("sources", {}).items() if "draws" in changed]
        changes += [f"stages.{name}.sources.{key}.draws=4" for key in drawn]
        changes += [f"stages.{name}.{key}={'[32]' if key == 'sizes' else '1'}" for key in ("sizes", "epochs")]
        changes += [f"stages.{name}.batch_size=256"] if "batch_size" in stage else []
        changes += [f"stages.{name}.propagation.epochs=1"] if "propagation" in stage else []
    if "--time-budget" in words:
        words[words.index("--time-budget") + 1] = "0.05"
    return shlex.join([*words, *(part for change in changes for part in ("--set", change))])


def own_data(folder: Path) -> None:
    """Two slices of each of five patients with masks of 0 and 1, and one volume."""
    for patient in range(5):
        for number in (1, 2):
            write_slice(folder / "small", f"p{patient}_{number:03d}", seed=10 * patient + number)
    for kind, name in (("Imgs", "images"), ("GT", "masks")):
        for path in (folder / "small" / kind).iterdir():
            small = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            large = cv2.resize(small, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
            write_picture(folder / "mine" / name / path.name, large if kind == "Imgs" else large // 255)
    chest = chest_phantom()
    write_nifti(folder / "p77.nii.gz", *reorient(chest.hu, chest.spacing_mm, "LPS"))
    mask = chest.infection.astype(np.uint8)
    write_nifti(folder / "p77_infection.nii.gz", *reorient(mask, chest.spacing_mm, "RAS"))


def masks_at_hand(folder: Path) -> None:
    """Infection, lungs and lobes of ``scan.nii.gz``, each stored another way round."""
    chest = chest_phantom()
    lobes = np.where(chest.lungs == RIGHT, np.uint8(3), chest.lungs // 2)
    lobes[:10] += np.array([0, 1, 0, 1], np.uint8)[lobes[:10]]
    lobes[:6][lobes[:6] == 4] = 5
    for name, mask, code in (
        ("infection", chest.infection.astype(np.uint8), "RAS"),
        ("lungs", chest.lungs, "SPL"),
        ("lobes", lobes, "LAI"),
    ):
        write_nifti(folder / f"{name}.nii.gz", *reorient(mask, chest.spacing_mm, code))


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a shell, with the programs of this environment and no time to wait for a GPU."""
    binaries = Path(sys.executable).parent
    model = WITH_CLASSES if "--classes" in command else TINY
    if command.startswith("infnet-export"):
        model = SHIPPED
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        | ({"INFNET_MODEL": model} if command.startswith("infnet-") else {}),
        capture_output=True,
        text=True,
    )


def labelled_sets(folder: Path) -> None:
    """What ``benchmarks/slice_gate.py`` reads, and a model for it: phantoms under the names of the sets."""
    mid_grey_detector(folder / "model.onnx")
    (folder / "SCAN.nii.gz").hardlink_to(folder / "scan.nii.gz")
    chest = chest_phantom()
    hu, affine = reorient(chest.hu, chest.spacing_mm, "LPS")
    mask, _ = reorient(chest.infection.astype(np.uint8), chest.spacing_mm, "LPS")
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "slice_scores.py"))
    for name, case, *_ in benchmark["SCANS"]:
        (folder / "DATA" / name).mkdir(exist_ok=True)
        write_nifti(folder / "DATA" / name / f"{case}_ct.nii.gz", hu, affine)
        write_nifti(folder / "DATA" / name / f"{case}_infection.nii.gz", mask, affine)
    middle = len(chest.hu) // 2
    grey = (to_grey(chest.hu[middle], Intensity.HU, PreprocessSpec()) * 255).astype(np.uint8)
    for number in ("001", "002"):  # one fits, one measures
        for kind, picture in (
            ("ct", grey),
            ("lung", (chest.lungs[middle] > 0) * np.uint8(255)),
            ("infection", chest.infection[middle].astype(np.uint8) * 255),
        ):
            write_picture(folder / "DATA/coronacases-slices" / kind / f"coronacases_{number}_10.png", picture)
    rows = ["file,source_number,group,lung_mode,tissue_mode"]
    for group in range(5):
        rows.append(f"normal_{group}.png,{group},{group},45,218")
        write_picture(folder / "DATA/iq-othnccd-normal/images" / f"normal_{group}.png", grey)
    (folder / "DATA/iq-othnccd-normal/slices.csv").write_text("\n".join(rows) + "\n", "utf-8")


def prepared_folder(folder: Path) -> None:
    """The sets of ``fine_tune.toml`` and ``default.toml`` that are not made of COVID-SemiSeg."""
    for name in ("volumes", "manual", "healthy", "normal", "transferred"):
        for case in ("7_85703_0", "4_85506_1", "29_86491_1", "org_001", "normal_1"):
            for number in range(2):
                write_slice(folder / name, f"{case}_{number}", seed=number)
    for path in (p for name in ("healthy", "normal") for p in (folder / name / "GT").iterdir()):
        cv2.imwrite(str(path), np.zeros(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape, np.uint8))
