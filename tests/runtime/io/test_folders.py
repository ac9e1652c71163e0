"""What is found in a folder, and what is left out or told."""

import os
from pathlib import Path

import pytest

from infnet_runtime.io.folders import look_into


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_scans_of_all_folders_below_in_order(tmp_path: Path) -> None:
    names = ["a.nii", "p1/ct.nii.gz", "p2/deep/ct.NII.GZ", "p2/slice.jpg"]
    touch(tmp_path, *reversed(names), "p1/ct.json", "readme.txt", "._a.nii", ".hidden/ct.nii", "p1/.x.png")
    found = look_into(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.scans] == names
    assert not found.unreadable


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/ct.nii", "data/a.nii")
    (tmp_path / "data/linked").symlink_to("../elsewhere")
    (tmp_path / "data/circle").symlink_to("..")
    (tmp_path / "data/gone.nii").symlink_to("nowhere.nii")
    found = [str(path.relative_to(tmp_path / "data")) for path in look_into(tmp_path / "data").scans]
    assert found == ["a.nii", "circle/elsewhere/ct.nii", "gone.nii"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "closed/ct.nii")
    (tmp_path / "closed").chmod(0)
    found = look_into(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert [error.code for error in found.unreadable.values()] == [3005]


def test_a_folder_that_the_system_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "closed/ct.nii", "open/ct.nii")
    scandir = os.scandir

    def refusing(path: "os.PathLike[str] | str") -> object:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = look_into(tmp_path)
    assert found.scans == [tmp_path / "open/ct.nii"]
    assert "scans in it are not done" in str(found.unreadable[tmp_path / "closed"])
