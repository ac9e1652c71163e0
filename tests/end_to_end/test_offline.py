"""The page on embedding, typed as printed: a wheelhouse, and all works from it with the network cut."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs_world import NO_BYTECODE, ROOT, copy_of_the_tree, files, marked_command

PAGE = ROOT / "docs/embedding.md"


def typed(command: str, folder: Path, *before: str) -> str:
    """What a command prints, which has to succeed."""
    done = subprocess.run(
        [*before, "bash", "-ec", command], cwd=folder, env=NO_BYTECODE, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cut_off() -> list[str]:
    """What a command without a network begins with; empty where the system does not allow it."""
    before = ["unshare", "--map-root-user", "--net"]
    can = shutil.which("unshare") and subprocess.run([*before, "true"], capture_output=True).returncode == 0
    return before if can else []


@pytest.mark.slow
def test_a_machine_without_a_network_is_set_up_from_the_wheelhouse(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "infnet")
    told = typed(marked_command(PAGE, "wheelhouse"), tree)
    wheels = list((tree / "wheelhouse").glob("*.whl"))
    assert told.splitlines()[-1].startswith(f"{len(wheels)} wheels, ")
    target = tmp_path / "target"
    target.mkdir()
    (tree / "wheelhouse").rename(target / "wheelhouse")
    shutil.rmtree(tree)

    without_network = cut_off()
    typed(marked_command(PAGE, "offline"), target, *without_network)
    # The installed package carries its model: the page's program runs away from the tree.
    (target / "segment.py").write_text(files(PAGE)["segment.py"], "utf-8")
    told = typed("infnet-env/bin/python segment.py", target, *without_network)
    assert re.search(r"^\d+ voxels marked$", told, re.M)

    # The twin: pip takes no wheel that is another one than requirements.txt says.
    changed = next(path for path in (target / "wheelhouse").glob("*.whl") if path.name.startswith("mdurl"))
    changed.write_bytes(changed.read_bytes() + b"0")
    install = marked_command(PAGE, "offline").splitlines()[-1]
    done = subprocess.run(
        ["bash", "-c", f"{install} --ignore-installed --dry-run"], cwd=target, capture_output=True, text=True
    )
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
