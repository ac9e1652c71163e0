"""No scan ends the batch: whatever one raises becomes a row with its reason."""

import errno
import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from infnet_runtime.cli import batch
from infnet_runtime.cli.batch import run_plan
from infnet_runtime.cli.case import CaseDone, CaseOptions
from infnet_runtime.cli.failures import typed
from infnet_runtime.cli.plan import Case, plan_cases
from infnet_runtime.errors import InfnetError, InputError, ModelError


class NoModel:
    """Where a segmenter would be; a case never asks it for anything here."""

    def __enter__(self) -> "NoModel":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def run(
    tmp_path: Path, raised: dict[str, BaseException], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[dict[str, Any]], list[str], int]:
    """Scans a, b, c, ... of which some raise: those done, documents of the failed, lines, exit code."""

    def one(segmenter: object, case: Case, *_: object) -> CaseDone:
        if case.path.stem in raised:
            raise raised[case.path.stem]
        return CaseDone(case.path.stem, {})

    monkeypatch.setattr(batch, "process_case", one)
    for name in "abcd":
        (tmp_path / f"{name}.nii").write_bytes(bytes(2000))
    plan = plan_cases([tmp_path], out=None, kinds=("mask",))
    done: list[str] = []
    failed: list[dict[str, Any]] = []
    lines: list[str] = []
    exit_code = run_plan(
        plan,
        CaseOptions(),
        NoModel,  # type: ignore[arg-type]
        done=lambda case: done.append(case.text),
        failed=failed.append,
        say=lines.append,
    )
    return done, failed, lines, exit_code


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InputError("it is damaged", code=3006), 3006, "it is damaged"),
        (MemoryError(), 8012, "memory ran out (MemoryError); close other programs, or crop the scan"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 8012, "memory ran out"),
        (RuntimeError("can't start new thread"), 8012, "memory ran out (can't start new thread)"),
        (ImportError("x.so: failed to map segment from shared object"), 8012, "memory ran out (x.so"),
        (ZeroDivisionError("by zero"), None, "unexpected ZeroDivisionError: by zero; a bug, -v prints where"),
        (OSError(errno.EIO, "Input/output error"), None, "unexpected OSError: [Errno 5] Input/output error"),
    ],
)
def test_the_others_are_done(
    error: Exception, code: int | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, (failed,), lines, exit_code = run(tmp_path, {"b": error}, monkeypatch)
    assert done == ["a", "c", "d"]
    assert exit_code == 6
    assert failed["schema"] == "infnet.failure/1"
    assert failed["input"] == {"file": "b.nii", "path": str(tmp_path / "b.nii")}
    assert failed["error"]["code"] == code
    assert failed["error"]["message"].startswith(text)
    number = "" if code is None else f"[INF-{code}]"
    assert lines[0].startswith(f"{tmp_path / 'b.nii'}: error{number} {text}")
    assert lines[-1] == "1 of 4 inputs failed"


def test_lack_of_memory_in_a_backend_is_no_damaged_model() -> None:
    def raised(message: str) -> InfnetError:
        error = ModelError("m.onnx cannot be loaded; it is damaged", code=4031)
        error.__cause__ = RuntimeError(message)
        return error

    found = typed(raised("[ONNXRuntimeError] : 6 :\nRUNTIME_EXCEPTION : std::bad_alloc" + 500 * "."))
    assert found is not None
    assert (found.code, found.exit_code) == (8012, 8)
    assert "\n" not in str(found)
    assert len(str(found)) < 400
    damaged = raised("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF")
    assert typed(damaged) is damaged
    too_large = InputError("the scan needs 9 bytes of memory, which are not there", code=3009)
    too_large.__cause__ = MemoryError()
    assert typed(too_large) is too_large


def test_opencv_says_in_its_own_way_that_memory_is_out() -> None:
    error = cv2.error("out of memory")
    error.code = -4  # type: ignore[attr-defined]
    found = typed(error)
    assert found is not None
    assert found.code == 8012
    error.code = -215  # type: ignore[attr-defined]  # an assertion
    assert typed(error) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interrupt_ends_the_batch(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error)):
        run(tmp_path, {"b": error}, monkeypatch)


def test_the_traceback_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run(tmp_path, {"b": ZeroDivisionError("by zero")}, monkeypatch)
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.getMessage() == f"{tmp_path / 'b.nii'} failed:"
    assert record.exc_info
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_the_same_error_is_said_once_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(name: str) -> InputError:
        return InputError(f"{tmp_path / name}.nii is of another planet; bring it here", code=3003)

    raised = {name: refusal(name) for name in "abd"} | {"c": InputError("c.nii is empty", code=3004)}
    done, failed, lines, _ = run(tmp_path, dict(raised), monkeypatch)
    assert not done
    assert len(failed) == 4  # each has its object
    assert lines == [
        f"{tmp_path / 'a.nii'}: error[INF-3003] {tmp_path / 'a.nii'} is of another planet; bring it here",
        f"{tmp_path / 'c.nii'}: error[INF-3004] c.nii is empty",
        "2 more with the same error: error[INF-3003] it is of another planet; bring it here",
        "4 of 4 inputs failed",
    ]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ({}, 0),
        (dict.fromkeys("abc", 3006), 6),  # one is done
        ({"a": 3006, "b": 3010, "c": 3001, "d": 3040}, 3),
        ({"a": 3006, "b": 3006, "c": 3006, "d": 8012}, 6),
        (dict.fromkeys("abcd", 8012), 8),
        (dict.fromkeys("abcd", None), 1),
        ({"a": None, "b": 3006, "c": 3006, "d": 3006}, 6),
    ],
)
def test_where_all_fail_alike_the_exit_code_is_theirs(
    raised: dict[str, int | None], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {
        name: ZeroDivisionError() if code is None else InfnetError("no", code=code)
        for name, code in raised.items()
    }
    done, failed, _, exit_code = run(tmp_path, dict(errors), monkeypatch)
    assert exit_code == expected
    assert (len(done), len(failed)) == (4 - len(raised), len(raised))


def test_the_only_scan_keeps_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nii").write_bytes(bytes(2000))

    def one(*_: object) -> CaseDone:
        raise InputError("it is damaged", code=3006)

    monkeypatch.setattr(batch, "process_case", one)
    failed: list[dict[str, Any]] = []
    plan = plan_cases([tmp_path / "a.nii"], out=None, kinds=("mask",))
    with pytest.raises(InputError, match="it is damaged"):
        run_plan(
            plan,
            CaseOptions(),
            NoModel,
            done=print,
            failed=failed.append,
            say=print,  # type: ignore[arg-type]
        )
    assert json.loads(json.dumps(failed))[0]["error"] == {"code": 3006, "message": "it is damaged"}


def test_no_model_is_opened_for_what_is_no_scan(tmp_path: Path) -> None:
    def no_model() -> Any:  # noqa: ANN401 - never called
        raise AssertionError("a model was opened")

    for name in ("1.nii", "2.nii"):
        (tmp_path / name).touch()
    plan = plan_cases([tmp_path / "1.nii", tmp_path / "2.nii"], out=None, kinds=("mask",))
    lines: list[str] = []
    exit_code = run_plan(plan, CaseOptions(), no_model, done=print, failed=lambda _: None, say=lines.append)
    assert exit_code == 3
    assert "1 more with the same error: error[INF-3004] it is empty" in lines[1]
