from pathlib import Path

import pytest

from infnet_runtime.errors import InputError
from infnet_runtime.io import open_scan, stem


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("absent.nii", 3001, "there is no file .*absent.nii"),
        (
            "folder",
            3002,
            "folder is a folder; DICOM is not supported yet. Convert the series to NIfTI with dcm2niix",
        ),
        ("slice.dcm", 3002, "is a DICOM file; DICOM is not supported yet"),
        ("IM0001", 3002, "is a DICOM file"),
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
        "notes.txt": b"x",
        "scan.nrrd": b"x",
        "text.nii": b"x" * 400,
    }.items():
        (tmp_path / file).write_bytes(content)
    for file in ("empty.nii.gz", "empty.png"):
        (tmp_path / file).touch()
    with pytest.raises(InputError, match=text) as caught:
        open_scan(tmp_path / name)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.nii.gz", "a"), ("a.NII.GZ", "a"), ("a.b.nii", "a.b"), ("a.png", "a"), ("a.gz", "a"), ("a", "a")],
)
def test_stem(name: str, expected: str) -> None:
    assert stem(Path("folder") / name) == expected
