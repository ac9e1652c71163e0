"""The wheelhouse lists what is in it: hashes for pip, licences for people; the page's table agrees."""

import email.message
import hashlib
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runtime/wheelhouse.py"
wheelhouse = runpy.run_path(str(SCRIPT))


def metadata(**fields: str) -> email.message.Message:
    made = email.message.Message()
    for name, value in fields.items():
        made[name.replace("_", "-")] = value
    return made


def wheel(folder: Path, name: str, **fields: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", metadata(Name=name, Version="1.0", **fields).as_bytes()
        )
        archive.writestr(f"{name}/vendored/other-2.0.dist-info/METADATA", "Name: other\n\n")
    return path


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"License_Expression": "BSD-3-Clause AND Zlib", "License": "see file"}, "BSD-3-Clause AND Zlib"),
        ({"License": "LGPL-3.0-or-later"}, "LGPL-3.0-or-later"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "The\ntext", "Classifier": "License :: OSI Approved :: ISC License (ISCL)"}, "ISC"),
        ({}, "not told"),
    ],
)  # fmt: skip
def test_a_licence_is_read(fields: dict[str, str], told: str) -> None:
    assert wheelhouse["licence"](metadata(**fields)) == told


def test_every_wheel_has_its_hash_and_its_licence(tmp_path: Path) -> None:
    wheels = [
        wheel(tmp_path, "infnet", License_Expression="MIT"),
        wheel(tmp_path, "alpha", License_File="A.txt"),
    ]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels]
    assert wheelhouse["requirements"](wheels, "cpu").splitlines() == [
        f"alpha==1.0 --hash=sha256:{digests[1]}",
        f"infnet[cpu]==1.0 --hash=sha256:{digests[0]}",
    ]
    assert wheelhouse["licences"](wheels).splitlines() == [
        "alpha 1.0: not told (A.txt)",
        "infnet 1.0: MIT; MIT is the code, the model files inside are for non-commercial research only "
        "(no text in the wheel)",
    ]


def test_nothing_is_put_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "old.whl").touch()
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is there and not an empty folder; name a new one, nothing is replaced" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old.whl"]


EXTRAS = ("openvino", "onnxruntime", "embedding")


def asked_for() -> list[str]:
    """What infnet requires with the extras of a host, from the source: an installed record may be older."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    more = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in EXTRAS for line in more.get(extra, []))]


def installed(lines: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """What is installed of some requirements, of theirs and so on, by normalised name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(lines)
    while todo:
        line = todo.pop()
        key = re.sub(r"[-_.]+", "-", re.findall(r"^[\w.-]+", line)[0]).lower()
        if key in found or "extra ==" in line:
            continue
        try:
            found[key] = importlib.metadata.distribution(key)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        todo += found[key].requires or []
    return found


def test_the_page_names_the_licence_of_all_that_is_needed() -> None:
    page = (ROOT / "docs/embedding.md").read_text("utf-8")
    (table,) = re.findall(r"^\| package \| licence .*?\n((?:\|.*\n)+)", page, re.M)
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+?) \|", table, re.M))
    there = installed(asked_for())
    assert {"onnxruntime", "openvino"} <= set(there)
    told = {name: wheelhouse["licence"](one.metadata) for name, one in there.items()}
    assert told == {name: rows.get(name) for name in told}
