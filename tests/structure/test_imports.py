"""The runtime loads neither torch nor onnx, seen from a fresh interpreter; and the check can fail."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = ("torch", "onnx", "scipy", "infnet_train", "infnet_export")
REPORT = "; import sys; print(' '.join(sorted(m for m in sys.modules if m in {forbidden})))"


def loaded_after(statement: str, *, path: Path | None = None) -> list[str]:
    code = (f"import sys; sys.path.insert(0, {str(path)!r}); " if path else "") + statement
    code += REPORT.format(forbidden=FORBIDDEN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import infnet_runtime; infnet_runtime.load",
        "import infnet_runtime.cli.main",
        "import infnet_runtime.metrics",
        "import infnet_runtime.backends.ort.cpu, infnet_runtime.backends.ort.cuda",
        "import infnet_runtime.backends.tensorrt.session, infnet_runtime.backends.openvino",
        "from infnet_runtime.backends.openvino import load_openvino; load_openvino()",
        "import infnet_runtime.machine.bench, infnet_runtime.machine.doctor",
        "from infnet_runtime.io import open_scan, read_lungs",
    ],
)
def test_the_runtime_is_torch_free(statement: str) -> None:
    assert loaded_after(statement) == []


def test_opencv_is_imported_in_one_place() -> None:
    """There its loader's change of the environment is taken back."""
    runtime, pattern = Path(__file__).parents[2] / "runtime/infnet_runtime", r"^\s*(import|from) cv2\b"
    found = [path for path in runtime.rglob("*.py") if re.search(pattern, path.read_text("utf-8"), re.M)]
    assert found == [runtime / "opencv.py"]


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_the_guard_can_fail(name: str, tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(f"import importlib\nimportlib.import_module({name!r})\n")
    assert name in loaded_after("import careless", path=tmp_path)


def test_help_loads_no_backend() -> None:
    code = "from typer.testing import CliRunner; from infnet_runtime.cli.main import app; "
    code += "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
    code += "import sys; print([m for m in ('onnxruntime', 'cv2', 'nibabel') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_segmenting_loads_no_evaluation() -> None:
    code = "import sys, infnet_runtime.segment.segmenter, infnet_runtime.report.text_and_json; "
    code += "print([m for m in sys.modules if m.startswith('infnet_runtime.metrics')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importtime_of_the_runtime_names_neither_torch_nor_onnx() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import infnet_runtime; infnet_runtime.load"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "numpy" in modules
    assert not modules & set(FORBIDDEN)


def test_every_public_name_exists() -> None:
    import infnet_runtime

    assert set(infnet_runtime.__all__) <= set(dir(infnet_runtime))
    for name in infnet_runtime.__all__:
        assert getattr(infnet_runtime, name) is not None
    with pytest.raises(AttributeError, match="module 'infnet_runtime' has no attribute 'Segmentor'"):
        infnet_runtime.Segmentor  # noqa: B018 - the access is the test
