"""Whether an output is whole, by readers that are not ours."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image

_VOID = {"meta", "link", "img", "br", "hr", "input", "col", "source", "wbr"}


def trouble(path: Path) -> str:
    """What is wrong with a file of a result; empty where it is whole."""
    readers = {
        ".gz": _nifti,
        ".nii": _nifti,
        ".png": _picture,
        ".json": lambda path: json.loads(path.read_text("utf-8")),
        ".html": _page,
        ".csv": _table,
        ".dcm": _dicom,
    }
    if path.suffix not in readers:
        return f"a file that is no result: {path.name}"
    try:
        readers[path.suffix](path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _nifti(path: Path) -> None:
    image = nibabel.load(path)
    assert np.asarray(image.dataobj).shape == image.shape


def _picture(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.all: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.add(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


def _page(path: Path) -> None:
    text = path.read_text("utf-8")
    tags = _Tags()
    tags.feed(text)
    assert tags.open == [], f"never closed: {tags.open}"
    assert text.rstrip().endswith("</html>")
    assert "script" not in tags.all, "it has a script"


def _table(path: Path) -> None:
    text = path.read_text("utf-8-sig")
    assert text.endswith("\n")
    rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


def _dicom(path: Path) -> None:
    found = pydicom.dcmread(path)
    assert found.SOPClassUID == found.file_meta.MediaStorageSOPClassUID
    if "PixelData" in found:
        bits = found.Rows * found.Columns * int(found.get("NumberOfFrames", 1)) * found.BitsAllocated
        assert len(found.PixelData) >= bits // 8
    else:
        assert found.ContentSequence
