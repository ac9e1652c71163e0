"""The three commands alike: help, versions, mistyped names, and what they say without their extra."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infnet_runtime.cli.extras import extra_named
from infnet_runtime.errors import OutputError
from infnet_runtime.model.manifest_file import manifest_of
from infnet_runtime.version import __version__
from tiny_models import classes_detector

COMMANDS = {
    "infnet-infer": "infnet_runtime.cli.main",
    "infnet-train": "infnet_train.cli.main",
    "infnet-export": "infnet_export.cli",
}
MODEL = Path(__file__).parents[2] / "models" / "infnet.onnx"
# As an installation without the packages is seen from inside: the finder that hides them comes first.
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
sys.argv = {argv!r}
import {module}
{module}.main()
"""
WITHOUT = {"torch", "onnx", "onnxscript", "safetensors", "tensorboard"}


def invoke(command: str, *arguments: str) -> tuple[int, str]:
    app = importlib.import_module(COMMANDS[command]).app
    done = CliRunner().invoke(app, [*arguments], prog_name=command)
    return done.exit_code, done.output


def without(hidden: set[str], command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = HIDDEN.format(hidden=hidden, argv=[command, *arguments], module=COMMANDS[command])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "usage", "shown"),
    [
        ("infnet-infer", "infnet-infer [OPTIONS] [INPUT...]", ("--lungs", "--version", "infnet-infer bench")),
        ("infnet-train", "infnet-train [OPTIONS] [COMMAND]", ("--config", "--set", "--version", "calibrate")),
        (
            "infnet-export",
            "infnet-export [OPTIONS] [WEIGHTS|MODEL.onnx]",
            ("--fp16", "--version", "infnet-export inspect"),
        ),
    ],
)
def test_help_shows_usage_and_options_at_once_in_one_style(
    command: str, usage: str, shown: tuple[str, ...]
) -> None:
    code, text = invoke(command, "--help")
    assert code == 0
    assert text.lstrip().startswith(f"Usage: {usage}")
    assert all(option in " ".join(text.split()) for option in shown)
    assert not set(text) & set("╭╮╰╯│─")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("infnet-infer", ("infer",)),
        ("infnet-infer", ("bench",)),
        ("infnet-infer", ("doctor",)),
        ("infnet-train", ("eval",)),
        ("infnet-train", ("calibrate",)),
        ("infnet-train", ("keys",)),
        ("infnet-train", ("data",)),
        ("infnet-train", ("data", "prepare")),
        ("infnet-train", ("lungs",)),
        ("infnet-train", ("lungs", "train")),
        ("infnet-export", ("make",)),
        ("infnet-export", ("inspect",)),
        ("infnet-export", ("weights",)),
        ("infnet-export", ("lungs",)),
    ],
)
def test_the_help_of_every_command_is_plain(command: str, arguments: tuple[str, ...]) -> None:
    code, text = invoke(command, *arguments, "--help")
    assert code == 0
    named = command if arguments in (("infer",), ("make",)) else f"{command} {' '.join(arguments)}"
    assert text.lstrip().startswith(f"Usage: {named} [OPTIONS]")
    assert not set(text) & set("╭╮╰╯│─")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_names_package_and_model(command: str) -> None:
    code, text = invoke(command, "--version")
    manifest = manifest_of(MODEL)
    assert (code, text.splitlines()) == (
        0,
        [f"infnet {__version__}", f"model {manifest.name} {manifest.version}, {MODEL}, with classes"],
    )


def test_the_version_is_given_where_there_is_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INFNET_MODEL", str(tmp_path / "none.onnx"))
    code, text = invoke("infnet-infer", "--version")
    assert code == 0
    assert text.startswith(f"infnet {__version__}\nmodel none: [INF-4030] cannot read")
    (tmp_path / "none.onnx").write_bytes(b"\xff\xff")
    assert "model none: [INF-4031]" in invoke("infnet-infer", "--version")[1]
    monkeypatch.setenv("INFNET_MODEL", "gpu.engine")
    assert invoke("infnet-infer", "--version")[1].endswith("model gpu.engine\n")
    path = classes_detector(tmp_path / "classes.onnx")
    monkeypatch.setenv("INFNET_MODEL", str(path))
    assert invoke("infnet-infer", "--version")[1].endswith(f"{path}, with classes\n")


@pytest.mark.parametrize(
    ("command", "word", "hint"),
    [
        ("infnet-infer", "docter", "no file docter; did you mean the command doctor?"),
        ("infnet-infer", "bnech", "did you mean the command bench?"),
        ("infnet-export", "inspct", "did you mean the command inspect?"),
        ("infnet-export", "wieghts", "did you mean the command weights?"),
        ("infnet-train", "evla", "Did you mean 'eval'?"),
        ("infnet-train", "calibrat", "Did you mean 'calibrate'?"),
    ],
)
def test_mistyped_commands_are_told_from_files(
    command: str, word: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = invoke(command, word)
    assert code == 2
    assert hint in " ".join(text.split())


def test_a_file_that_is_called_nearly_like_a_command_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docter").write_bytes(b"no scan")
    assert "did you mean the command" not in invoke("infnet-infer", "docter")[1]
    assert "did you mean the command" not in invoke("infnet-infer", "docter.nii")[1]


@pytest.mark.parametrize(
    ("command", "arguments", "extra"),
    [
        ("infnet-train", ("--data", "."), "train"),
        ("infnet-train", ("eval", "run", "slices"), "train"),
        ("infnet-train", ("data", "pack", ".", "-o", "p.pack"), "train"),
        ("infnet-train", ("lungs", "train"), "train"),
        ("infnet-train", ("keys",), "train"),
        ("infnet-export", (), "export"),
        ("infnet-export", ("run/weights.safetensors", "-o", "m"), "export"),
        ("infnet-export", ("weights", "m.onnx", "-o", "w.safetensors"), "export"),
        ("infnet-export", ("lungs", "w.safetensors"), "export"),
        ("infnet-export", ("inspect", str(MODEL)), "export"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(
    command: str, arguments: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    done = without(WITHOUT, command, *arguments)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("error[INF-5030] this command needs ")
    assert done.stderr.endswith(f"which is not installed; pip install 'infnet[{extra}]'\n")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_need_no_extra(command: str, option: str) -> None:
    done = without(WITHOUT, command, option)
    assert (done.returncode, done.stderr) == (0, "")


def test_inspect_needs_no_pytorch() -> None:
    done = without({"torch"}, "infnet-export", "inspect", str(MODEL))
    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(invoke("infnet-export", "inspect", "--help")[1].split())
    assert "Needs the package onnx, which infnet[export] has; neither PyTorch nor a GPU." in told


def test_the_lack_of_another_module_stays_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"), extra_named("train", "torch"):
        importlib.import_module("nowhere")


def test_weights_read_back_do_not_replace_those_of_a_training(tmp_path: Path) -> None:
    trained = tmp_path / "weights.safetensors"
    trained.write_bytes(b"of three days")
    app = importlib.import_module(COMMANDS["infnet-export"]).app
    done = CliRunner().invoke(app, ["weights", str(MODEL), "-o", str(trained)])
    assert isinstance(done.exception, OutputError)
    assert "[INF-8023]" in str(done.exception)
    assert trained.read_bytes() == b"of three days"
