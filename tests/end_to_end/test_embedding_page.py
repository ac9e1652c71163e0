"""``docs/embedding.md``: what is in Python runs, its tables are the code's; C++ is in test_offline.py."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import infnet_runtime
from docs_world import ROOT, files, listings
from infnet_runtime import Grid
from infnet_runtime.errors import InfnetError, InputError
from infnet_runtime.scan.phantom import chest_phantom
from infnet_runtime.scan.realistic_chest import realistic_chest
from tiny_models import mid_grey_detector

PAGE = ROOT / "docs/embedding.md"
HEADER = ROOT / "runtime/embedding/include/infnet/infnet.hpp"
TEXT = PAGE.read_text("utf-8")
# What a listing is that is no file: it goes on with the names of the program in Python before it.
LISTINGS = listings(PAGE, "python")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mid_grey_detector(tmp_path_factory.mktemp("embedding") / "tiny.onnx")


@pytest.fixture(scope="module")
def names(tiny: Path) -> Iterator[dict[str, object]]:
    """What the program in Python has at its end."""
    with infnet_runtime.load(tiny, threads=1) as model:
        chest = realistic_chest()
        grid = infnet_runtime.Grid.from_spacing(chest.hu.shape, chest.spacing_mm, "SPL")
        found: dict[str, object] = {
            "np": np,
            "infnet_runtime": infnet_runtime,
            "realistic_chest": realistic_chest,
        }
        found |= {name: getattr(infnet_runtime, name) for name in infnet_runtime.__all__}
        found |= {"model": model, "chest": chest, "volume": chest.hu, "grid": grid}
        yield found
    found["model"].close()  # type: ignore[attr-defined]  # a listing puts another one in its place


def printed(program: str, model: Path, folder: Path, chest: str = "realistic_chest()") -> str:
    """What a program of the page prints, of its own chest or of another; it has to succeed."""
    text = files(PAGE)[program].replace("realistic_chest()", chest)
    (folder / program).write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env={**os.environ, "INFNET_MODEL": str(model)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_in_python_runs(tiny: Path, tmp_path: Path) -> None:
    coarse = "realistic_chest((20, 72, 96), (12.0, 4.5, 4.0))"
    for chest, told in (
        ("realistic_chest()", "note flat_marks_removed "),
        (coarse, "WARNING pixels_too_coarse "),
    ):
        first, *flags, last = printed("segment.py", tiny, tmp_path, chest).splitlines()
        assert re.fullmatch(r"\d+\.\d ml, \d+\.\d % of the lungs", first)
        assert any(flag.startswith(told) for flag in flags)
        assert re.fullmatch(r"[1-9]\d* voxels marked", last)


@pytest.mark.slow
def test_the_program_of_several_processes_runs(tiny: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"\[\d+\.\d+(, \d+\.\d+){3}\]\n", printed("processes.py", tiny, tmp_path))


def test_the_listings_in_python_hold(
    names: dict[str, object], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LISTINGS
    monkeypatch.setenv("INFNET_MODEL", str(tiny))
    for listing in LISTINGS:
        exec(compile(listing, str(PAGE), "exec"), names)


MISTAKES = {
    3036: lambda volume: (volume, Grid.from_spacing(volume.shape, (1.2, 0.45, 0.4))),  # cm
    3037: lambda volume: (volume, Grid.from_spacing(volume.shape, (12, 4.5, 4), "SAL")),
    3035: lambda volume: (volume, Grid(volume.shape, np.eye(4))),
    3203: lambda volume: (volume.astype(">i2"), Grid.from_spacing(volume.shape, (12, 4.5, 4))),
    3204: lambda volume: (volume, Grid.from_spacing(volume.shape[::-1], (4, 4.5, 12), "LPS")),
    3205: lambda volume: (
        np.lib.stride_tricks.as_strided(volume, strides=(72 * 96, 96, 1)),
        Grid.from_spacing(volume.shape, (12, 4.5, 4)),
    ),
}


@pytest.mark.parametrize("number", MISTAKES)
def test_a_wrong_layout_is_refused_as_the_page_says(names: dict[str, object], number: int) -> None:
    assert f"| refused, INF-{number}" in TEXT
    with pytest.raises(InputError) as caught:
        names["model"].predict_buffer(*MISTAKES[number](chest_phantom().hu))  # type: ignore[attr-defined]
    assert caught.value.code == number


def test_a_mirror_image_is_not_noticed_as_the_page_says(names: dict[str, object]) -> None:
    chest = realistic_chest()
    true, mirrored = (
        names["model"]  # type: ignore[attr-defined]
        .predict_buffer(chest.hu, Grid.from_spacing(chest.hu.shape, chest.spacing_mm, code))
        .quantification
        for code in ("SPL", "SPR")
    )
    assert mirrored.left.infection_ml > 2 * mirrored.right.infection_ml
    for one, other in ((true.right, mirrored.left), (true.left, mirrored.right)):
        assert other.infection_ml == pytest.approx(one.infection_ml, rel=0.05)
    assert mirrored.warnings == true.warnings


def test_numbers_and_flags_that_the_page_names_are_explained() -> None:
    for pattern, explained in ((r"INF-(\d{4})", "errors.md"), (r"flag `(\w+)`", "flags.md")):
        named = set(re.findall(pattern, TEXT))
        table = (ROOT / "docs" / explained).read_text("utf-8")
        assert named
        assert {name for name in named if not re.search(rf"^\| `?{name}`? \|", table, re.M)} == set()


def kinds() -> dict[str, int]:
    """Every error class of the runtime below the first, and the first digit of its numbers."""
    found, todo = {}, InfnetError.__subclasses__()
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__ == InfnetError.__module__:
            found[kind.__name__] = kind.exit_code
    return found


def test_the_table_of_errors_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d)[x\d]{3} \|", TEXT, re.M)
    assert {name: int(digit) for name, digit in rows} == kinds()
    assert set(kinds()) < set(infnet_runtime.__all__)
    in_cpp = dict(re.findall(r"^class (\w+) : public (\w*Error) {", HEADER.read_text("utf-8"), re.M))
    assert set(in_cpp) == {*kinds(), "Unexpected", "NotRunning"}
    for name, parent in in_cpp.items():
        own = getattr(infnet_runtime, name, None)
        assert own is None or own.__base__.__name__ in (parent, f"Infnet{parent}")
