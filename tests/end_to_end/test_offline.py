"""The page on embedding, typed as printed: a wheelhouse, and all works from it with the network cut."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs_world import NO_BYTECODE, ROOT, copy_of_the_tree, files, listings, marked_command
from embedded import need_compiler
from infnet_runtime.scan.realistic_chest import realistic_chest

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs/embedding.md"
# What a listing in C++ takes from the program around it; it is compiled, and not run.
LISTING = "static void listing_{}(const infnet::Model& model, const void* pixels)"


def typed(command: str, folder: Path, *before: str) -> str:
    """What a command prints, which has to succeed."""
    done = subprocess.run(
        [*before, "bash", "-ec", command],
        cwd=folder,
        env=NO_BYTECODE | {"INFNET_CACHE": str(folder / "cache")},  # compiled for Python, read in C++
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cut_off() -> list[str]:
    """What a command without a network begins with; empty where the system does not allow it."""
    before = ["unshare", "--map-root-user", "--net"]
    can = shutil.which("unshare") and subprocess.run([*before, "true"], capture_output=True).returncode == 0
    return before if can else []


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a machine that was set up from a wheelhouse, with the files of the page; no tree is left."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("tree"))
    told = typed(marked_command(PAGE, "wheelhouse"), tree)
    wheels = list((tree / "wheelhouse").glob("*.whl"))
    assert told.splitlines()[-1].startswith(f"{len(wheels)} wheels, ")
    folder = tmp_path_factory.mktemp("machine")
    (tree / "wheelhouse").rename(folder / "wheelhouse")
    shutil.rmtree(tree)
    typed(marked_command(PAGE, "offline"), folder, *cut_off())
    for name, text in files(PAGE).items():
        (folder / name).write_text(text, "utf-8")
    with (folder / "segment.cpp").open("a", encoding="utf-8") as program:
        for number, listing in enumerate(listings(PAGE, "cpp")):
            program.write(f"\n[[maybe_unused]] {LISTING.format(number)} {{\n{listing}}}\n")
    return folder


def test_the_page_s_programs_run_without_a_network_and_agree(machine: Path) -> None:
    told = typed("infnet-env/bin/python segment.py", machine, *cut_off())
    (ml,) = re.findall(r"^(\d+\.\d) ml, ", told, re.M)
    need_compiler()
    realistic_chest().hu.tofile(machine / "volume.raw")
    typed(marked_command(PAGE, "build"), machine, *cut_off())
    told = typed("build/segment volume.raw", machine, *cut_off())
    (same,) = re.findall(r"^(\d+\.\d+) ml$", told, re.M)
    assert f"{float(same):.1f}" == ml
    assert list((machine / "cache").glob("**/*"))


def test_a_wheel_that_was_changed_is_not_installed(machine: Path, tmp_path: Path) -> None:
    shutil.copytree(
        machine / "wheelhouse", tmp_path / "wheelhouse", copy_function=lambda a, b: Path(b).hardlink_to(a)
    )
    changed = next((tmp_path / "wheelhouse").glob("mdurl*"))
    content = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(content + b"0")
    install = (
        marked_command(PAGE, "offline").splitlines()[-1].replace("infnet-env", str(machine / "infnet-env"))
    )
    done = subprocess.run(
        ["bash", "-c", f"{install} --ignore-installed --dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
