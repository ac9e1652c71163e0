"""A console that is closed, full, gone or short of letters does no harm: files are the result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders import chest_phantom, write_nifti
from tiny_models import mid_grey_detector

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell redirections")
NAMES = ("a.nii", "\u75c5.nii", os.fsdecode(b"\xff.nii"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a model and three small scans, one of a name that is no UTF-8."""
    folder = tmp_path_factory.mktemp("console")
    mid_grey_detector(folder / "model.onnx")
    phantom = chest_phantom((8, 60, 80), (25.0, 6.0, 5.0))
    write_nifti(folder / "a.nii", phantom.hu, phantom.affine)
    for name in NAMES[1:]:
        (folder / name).write_bytes((folder / "a.nii").read_bytes())
    return folder


def shell(
    made: Path, redirection: str, out: Path, *options: str, **env: str
) -> "subprocess.CompletedProcess[bytes]":
    """All three scans by way of a shell, with a redirection."""
    command = (
        f'"$PYTHON" -m infnet_runtime.cli {" ".join(options)} --model model.onnx --threads 1 -o "$OUT" '
        f"*.nii {redirection}"
    )
    variables = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), **env}
    return subprocess.run(["bash", "-c", command], cwd=made, env=variables, capture_output=True)


def written(out: Path) -> int:
    return len(list(out.glob("*.infnet.json")))


@pytest.mark.parametrize(
    ("redirection", "options", "code"),
    [
        ("2>&-", (), 0),
        (">&-", (), 0),
        (">&- 2>&- <&-", (), 0),
        (">&-", ("--json",), 0),
        ("2>/dev/full", ("-v",), 0),
        (">/dev/full", ("-q",), 0),  # nothing was to be printed
        (">/dev/full", (), 8),
        (">/dev/full", ("--json",), 8),
        ("| head -c 5", ("--json",), 0),
        ("| true", (), 0),
        ("2> >(true)", ("-v",), 0),
    ],
)
def test_every_scan_is_done(
    made: Path, tmp_path: Path, redirection: str, options: tuple[str, ...], code: int
) -> None:
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    done = shell(made, f"{redirection}; exit ${{PIPESTATUS[0]}}", tmp_path / "out", *options)
    assert done.returncode == code, done.stderr
    assert written(tmp_path / "out") == 3
    assert b"Traceback" not in done.stderr
    assert (b"error[INF-8011] cannot print to stdout: No space left on device" in done.stderr) == (code == 8)


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, ()),
        ({"PYTHONIOENCODING": "cp1252"}, ("--json",)),
        ({"PYTHONIOENCODING": "ascii"}, ()),
        ({"PYTHONIOENCODING": "latin-1:strict"}, ()),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ()),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ("--json",)),
        ({"LC_ALL": "C"}, ()),
        ({"PYTHONUNBUFFERED": "1"}, ()),
    ],
    ids=str,
)
def test_names_that_a_console_cannot_show(
    made: Path, tmp_path: Path, env: dict[str, str], options: tuple[str, ...]
) -> None:
    done = shell(made, "gone-\u75c5.nii", tmp_path / "out", *options, **env)
    assert done.returncode == 6, done.stderr
    assert written(tmp_path / "out") == 3
    assert b"Traceback" not in done.stderr
    assert b"1 of 4 inputs failed" in done.stderr
    if options:
        lines = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
        assert [line["schema"] for line in lines].count("infnet.quantification/2") == 3
        files = {line["input"]["file"] for line in lines}
        assert "\\xff.nii" in files
        assert not any("\udcff" in name for name in files)


def test_descriptors_that_are_closed_are_not_given_to_files(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from infnet_runtime.cli.console import lasting_streams\n"
        "lasting_streams()\n"
        f"file = open({str(tmp_path / 'result')!r}, 'w')\n"
        "os.write(2, b'a message of a library')\n"
        "print('said'); print('said', file=sys.stderr)\n"
        "sys.exit(file.fileno() < 3)\n"
    )
    done = subprocess.run(["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code])
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == ""


def test_a_working_folder_that_is_gone(made: Path, tmp_path: Path) -> None:
    start = (
        'mkdir "$HOME_/gone" && cd "$HOME_/gone" && rmdir "$HOME_/gone" && "$PYTHON" -m infnet_runtime.cli '
    )
    variables = {**os.environ, "PYTHON": sys.executable, "HOME_": str(tmp_path)}
    model = f"--model {made / 'model.onnx'}"
    for arguments, code, text in (
        (f"{made / 'a.nii'} {model} -o {tmp_path / 'out'}", 0, b""),
        (f"{made / 'a.nii'} {model} -o out", 8, b"error[INF-8001] cannot write out"),
        (f"a.nii {model}", 3, b"error[INF-3001] there is no file a.nii"),
        (f". {model}", 3, b"error[INF-"),
        (f"--demo {model}", 8, b"error[INF-8001]"),
        ("doctor --help", 0, b""),
    ):
        done = subprocess.run(["bash", "-c", start + arguments], env=variables, capture_output=True)
        assert done.returncode == code, (arguments, done.stderr)
        assert text in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["infnet_train.cli", "infnet_export.cli"])
def test_the_other_commands_have_the_same_streams(command: str) -> None:
    pytest.importorskip("torch")
    for redirection, code in ((">/dev/full", 8), (">&-", 0), ("2>&-", 0), ("| true", 0)):
        line = f'"$0" -m {command} --version {redirection}; exit ${{PIPESTATUS[0]}}'
        done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
