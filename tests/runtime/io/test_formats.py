import os
import socket
from pathlib import Path

import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan, stem


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("absent.nii", 3001, "there is no file .*absent.nii"),
        ("folder", 3026, "folder is a folder, expected one file with an ending of .nii.gz"),
        ("series", 3253, "series: 1 file cannot be read as DICOM, and a slice may be among them: IM1"),
        ("scan.nii.gz", 3026, "scan.nii.gz is a folder, expected one file; it holds scan.nii: give that"),
        ("several", 3026, "it holds a.nii and 2 more: give that"),
        ("1.2.840.113619", 3253, "1.2.840.113619 .no SOP class: cut off"),
        ("pipe.nii", 3003, "pipe.nii is a named pipe; give a file on disk"),
        ("gone.nii", 3025, "gone.nii is a link to .git/annex/objects/x.nii, which is not there; fetch its"),
        ("away/scan.nii", 3025, "away is a link to /nowhere/at/all, which is not there"),
        ("circle.nii", 3025, "circle.nii is a link that leads to itself; give the file"),
        ("lfs.nii.gz", 3025, "lfs.nii.gz is the 131 bytes that stand for a file of git-lfs or git-annex"),
        ("annex.png", 3025, "whose content was not fetched; fetch it"),
        ("nofolder/a/scan.nii", 3001, "there is no file .*, as there is no folder .*/nofolder; check the"),
        ("notes.txt/scan.nii", 3001, "there is no file .*, as .*/notes.txt is a file; check the spelling"),
        ("slice.dcm", 3253, "slice.dcm .named as DICOM, and is none"),
        ("IM0001", 3253, "IM0001 "),
        ("broken.zip", 3251, "no CT series"),
        ("notes.txt", 3003, "has none of the endings .nii.gz, .nii, .png"),
        ("scan.nrrd", 3003, "other formats are not read"),
        ("empty.nii.gz", 3004, r"is empty \(0 bytes\)"),
        ("empty.png", 3004, r"is empty \(0 bytes\)"),
        ("text.nii", 3010, "text.nii is no NIfTI file"),
        ("name\0.nii", 3001, "there is no file"),
    ],
)
def test_what_is_no_scan(tmp_path: Path, name: str, code: int, text: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    for file, content in {
        "slice.dcm": b"x",
        "broken.zip": b"x",
        "notes.txt": b"x",
        "scan.nrrd": b"x",
        "text.nii": b"x" * 400,
    }.items():
        (tmp_path / file).write_bytes(content)
    for file in ("empty.nii.gz", "empty.png"):
        (tmp_path / file).touch()
    for file in ("series/IM1", "scan.nii.gz/scan.nii", "several/a.nii", "several/b.nii", "several/c.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(bytes(128) + b"DICM" + bytes(20))
    (tmp_path / "1.2.840.113619").write_bytes(bytes(128) + b"DICM")
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "gone.nii").symlink_to(".git/annex/objects/x.nii")
    (tmp_path / "away").symlink_to("/nowhere/at/all")
    (tmp_path / "circle.nii").symlink_to("circle.nii")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
    (tmp_path / "lfs.nii.gz").write_text(pointer)
    (tmp_path / "annex.png").write_text("/annex/objects/SHA256E-s1--00.png\n")
    with pytest.raises(InputError, match=text) as caught:
        open_scan(tmp_path / name)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.NII.GZ", "a"), ("a.b.nii", "a.b"), ("a.png", "a"), ("a.gz", "a"), ("a", "a")],
)
def test_stem(name: str, expected: str) -> None:
    assert stem(Path("folder") / name) == expected


def test_a_socket_and_a_device_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.nii")
        with pytest.raises(InputError, match="s.nii is a socket; give a file on disk") as caught:
            open_scan(Path("s.nii"))
    assert caught.value.code == 3003
    with pytest.raises(InputError, match="/dev/null is a device"):
        open_scan(Path("/dev/null"))
