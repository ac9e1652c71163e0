"""Reading ahead changes no result, no error and no order; it holds one scan and leaves no thread."""

import gc
import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from builders import chest_phantom, write_nifti
from infnet_runtime.cli import batch
from infnet_runtime.cli.ahead import Reader
from infnet_runtime.cli.batch import run_plan
from infnet_runtime.cli.case import CaseDone, CaseOptions
from infnet_runtime.cli.plan import Case, plan_cases
from infnet_runtime.cpu import usable_cores, using_threads
from infnet_runtime.errors import InputError
from infnet_runtime.io import Scan
from infnet_runtime.io.nifti import read_stored
from tiny_models import mid_grey_detector

LONG_S = 20.0  # longer than any healthy run; what waits in vain fails instead of hanging


class Pretended:
    """What stands for a scan."""

    def __init__(self, path: Path) -> None:
        self.path = path


def readers_left() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("infnet-read")]


def cases(tmp_path: Path, names: str = "abcd") -> tuple[Case, ...]:
    for name in names:
        (tmp_path / f"{name}.nii").write_bytes(bytes(2000))
    return plan_cases([tmp_path], out=None, kinds=("mask",)).cases


def pretended(case: Case) -> Scan:
    return cast(Scan, Pretended(case.path))


@pytest.mark.parametrize("ahead", [False, True])
def test_every_scan_is_read_once_and_in_order(ahead: bool, tmp_path: Path) -> None:
    read: list[str] = []

    def open_case(case: Case) -> Scan:
        read.append(case.path.stem)
        return pretended(case)

    with Reader(cases(tmp_path), open_case, ahead=ahead) as reader:
        for case in cases(tmp_path):
            assert cast(Any, reader.read(case).scan).path == case.path
    assert read == list("abcd")
    assert not readers_left()


def test_the_next_is_read_while_the_present_one_is_worked_on_and_none_beyond(tmp_path: Path) -> None:
    read: list[str] = []
    b_is_read = threading.Event()

    def open_case(case: Case) -> Scan:
        read.append(case.path.stem)
        if case.path.stem == "b":
            b_is_read.set()
        return pretended(case)

    first, second, *_ = planned = cases(tmp_path)
    with Reader(planned, open_case, ahead=True) as reader:
        reader.read(first)
        assert b_is_read.wait(LONG_S)
        time.sleep(0.05)
        assert read == ["a", "b"]
        reader.read(second)
    assert len(read) <= 3
    # The twin: without it nothing is read before its turn.
    read.clear()
    with Reader(planned, open_case, ahead=False) as reader:
        reader.read(first)
        assert not readers_left()
    assert read == ["a"]


def test_a_scan_that_was_taken_is_not_held(tmp_path: Path) -> None:
    alive: list[weakref.ref[Scan]] = []

    def open_case(case: Case) -> Scan:
        scan = pretended(case)
        alive.append(weakref.ref(scan))
        return scan

    with Reader(cases(tmp_path), open_case, ahead=True) as reader:
        for count, case in enumerate(cases(tmp_path), 1):
            read = reader.read(case)
            assert read.scan is alive[count - 1]()
            del read
            gc.collect()
            assert [one() for one in alive[:count]] == [None] * count


def test_what_cannot_be_read_ahead_is_read_again_in_its_turn(tmp_path: Path) -> None:
    tried: list[str] = []

    def open_case(case: Case) -> Scan:
        tried.append(case.path.stem)
        if case.path.stem == "b":
            raise MemoryError if tried.count("b") == 1 else InputError("b is damaged", code=3006)
        return pretended(case)

    a, b, c, _ = planned = cases(tmp_path)
    with Reader(planned, open_case, ahead=True) as reader:
        reader.read(a)
        with pytest.raises(InputError, match="b is damaged"):
            reader.read(b)
        assert cast(Any, reader.read(c).scan).path == c.path
    assert tried[:4] == ["a", "b", "b", "c"]


def test_a_scan_that_is_left_out_does_no_harm(tmp_path: Path) -> None:
    a, _, c, d = planned = cases(tmp_path)
    with Reader(planned, pretended, ahead=True) as reader:
        assert [cast(Any, reader.read(case).scan).path for case in (a, c, d)] == [a.path, c.path, d.path]


def test_the_reading_thread_takes_as_many_threads_as_the_command(tmp_path: Path) -> None:
    seen: list[int] = []

    def open_case(case: Case) -> Scan:
        seen.append(usable_cores())
        return pretended(case)

    with using_threads(3), Reader(cases(tmp_path), open_case, ahead=True) as reader:
        for case in cases(tmp_path):
            reader.read(case)
    assert seen == [3, 3, 3, 3]


class NoModel:
    """Where a segmenter would be."""

    def __enter__(self) -> "NoModel":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def run(
    tmp_path: Path, work: Callable[..., CaseDone], monkeypatch: pytest.MonkeyPatch, *, ahead: bool
) -> list[str]:
    """A batch of four; what is said of each."""
    monkeypatch.setattr(batch, "process_case", work)
    monkeypatch.setattr(batch, "open_case", lambda case, _: pretended(case))
    cases(tmp_path)
    said: list[str] = []
    run_plan(
        plan_cases([tmp_path], out=None, kinds=("mask",)),
        CaseOptions(read_ahead=ahead),
        cast(Any, NoModel),
        done=lambda case: said.append(case.text),
        failed=lambda document: said.append(f"failed {document['input']['file']}"),
        say=said.append,
    )
    return said


def test_a_scan_that_lacks_the_memory_of_the_next_one_is_done_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def work(segmenter: object, case: Case, options: CaseOptions, read: Callable[[Case], object]) -> CaseDone:
        read(case)
        tries.append(case.path.stem)
        if case.path.stem == "b" and tries.count("b") == 1:
            raise MemoryError
        assert case.path.stem == "a" or not readers_left()  # no other is read beside it from then on
        return CaseDone(case.path.stem, {})

    assert run(tmp_path, work, monkeypatch, ahead=True) == list("abcd")
    assert tries == list("abbcd")
    # The twin: with nothing read ahead there is no second try.
    tries.clear()
    said = run(tmp_path, work, monkeypatch, ahead=False)
    assert said[:2] == ["a", "failed b.nii"]
    assert tries == list("abcd")


def test_memory_that_is_short_is_tried_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def work(segmenter: object, case: Case, options: CaseOptions, read: Callable[[Case], object]) -> CaseDone:
        read(case)
        tries.append(case.path.stem)
        raise MemoryError

    said = run(tmp_path, work, monkeypatch, ahead=True)
    assert [line for line in said if line.startswith("failed")] == [f"failed {name}.nii" for name in "abcd"]
    assert tries == list("aabcd")
    assert not readers_left()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_no_thread(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(segmenter: object, case: Case, options: CaseOptions, read: Callable[[Case], object]) -> CaseDone:
        read(case)
        if case.path.stem == "b":
            raise error
        return CaseDone(case.path.stem, {})

    with pytest.raises(error):
        run(tmp_path, work, monkeypatch, ahead=True)
    assert not readers_left()


def folder_of_scans(folder: Path) -> Path:
    """Four scans and three that are none."""
    folder.mkdir()
    for seed, name in enumerate("aceg"):
        phantom = chest_phantom(seed=seed)
        write_nifti(folder / f"{name}.nii.gz", phantom.hu.transpose(2, 1, 0), phantom.affine[:, [2, 1, 0, 3]])
    (folder / "b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:-2000])
    (folder / "d.nii").write_bytes(b"x" * 2000)
    (folder / "f.nii.gz").write_bytes(b"")
    return folder


def command(folder: Path, out: Path, threads: int, model: Path) -> list[str]:
    start = [sys.executable, "-m", "infnet_runtime.cli", "--device", "cpu", "--json", "--probability-out"]
    return [*start, str(folder), "-o", str(out), "--threads", str(threads), "--model", str(model)]


def without_times(text: str, out: Path) -> list[Any]:
    documents = [json.loads(line) for line in text.replace(str(out), "OUT").splitlines()]
    for document in documents:
        document.get("provenance", {}).pop("seconds", None)
    return documents


def test_a_folder_gives_the_same_bytes_messages_and_order(tmp_path: Path) -> None:
    folder, model = folder_of_scans(tmp_path / "in"), mid_grey_detector(tmp_path / "model.onnx")
    runs = {}
    for threads in (1, 2):
        out = tmp_path / str(threads)
        done = subprocess.run(command(folder, out, threads, model), capture_output=True, text=True)
        assert done.returncode == 6
        files = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".gz"}
        assert len(files) == 8
        runs[threads] = done.stderr, without_times(done.stdout, out), files
    assert runs[1] == runs[2]
    assert "3 of 7 inputs failed" in runs[1][0]


def test_a_signal_ends_the_command_and_leaves_whole_files_only(tmp_path: Path) -> None:
    folder, model = folder_of_scans(tmp_path / "in"), mid_grey_detector(tmp_path / "model.onnx")
    for path in folder.iterdir():
        if path.name not in ("a.nii.gz", "c.nii.gz"):
            path.unlink()
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(folder, out, 2, model), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert json.loads(process.stdout.readline())["input"]["file"] == "a.nii.gz"  # c is being read, or runs
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) in [(143, "terminated\n"), (0, "")]  # or it was quicker
    written = sorted(out.glob("*.nii.gz"))
    assert len(written) >= 2
    for path in written:
        read_stored(path)  # whole
    assert {path.name.split(".")[1] for path in out.iterdir()} <= {"infection", "probability", "infnet"}
