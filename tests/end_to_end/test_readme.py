"""The README's first command, typed as printed on a copy of the tree: it runs, and without torch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs_world import NO_BYTECODE, ROOT, copy_of_the_tree, marked_command
from infnet_runtime.backends.candidates import is_x86

MODELS = "infnet.onnx", "infnet.int8.onnx", "infnet.fp16.onnx", "infnet.lungs.onnx"
README = ROOT / "README.md"


@pytest.mark.slow
def test_first_command_runs_in_a_clean_environment_without_torch(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "infnet")
    done = subprocess.run(
        ["bash", "-c", marked_command(README, "demo")],
        cwd=tree, env=NO_BYTECODE, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[-6:]] == [
        "scan", "slices", "lungs", "infection", "network", "written",
    ]  # fmt: skip
    report = json.loads((tree / "infnet-demo" / "phantom.infnet.json").read_text())
    assert report["quantification"]["both"]["infection_ml"] > 0
    python = tree / ".venv" / "bin" / "python"
    listing = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True
    ).stdout
    installed = {package["name"].lower() for package in json.loads(listing)}
    measured = sys.platform in ("linux", "win32") and is_x86()
    assert installed & {"onnxruntime", "openvino"} == {"openvino" if measured else "onnxruntime"}
    provenance = report["provenance"]
    assert provenance["backend"].split()[0] in installed
    assert f"backend auto: {provenance['backend']}; model infnet." in provenance["choice"]
    assert not installed & {"torch", "onnx", "scipy", "tensorrt"}
    (record,) = (tree / ".venv" / "lib").glob("python*/site-packages/infnet-*.dist-info/RECORD")
    files = [line.split(",")[0] for line in record.read_text().splitlines()]
    tops = {name.split("/")[0] for name in files if ".dist-info" not in name and not name.startswith("..")}
    assert tops == {"infnet_runtime", "infnet_export", "infnet_train"}
    assert {f"infnet_runtime/models/{name}" for name in MODELS} <= set(files)
    # That it runs without its tree: test_offline.py.


def test_test_command_is_what_ci_runs() -> None:
    assert "just check" in marked_command(README, "test")
    assert "<!-- command: test -->" in (ROOT / ".ci" / "run").read_text()


def test_it_opens_with_a_picture_that_loads_fast() -> None:
    opening = README.read_text("utf-8").partition("\n## ")[0]
    words, name = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", opening)[0]
    assert "phantom" in words
    assert (ROOT / name).read_bytes().startswith(b"\x89PNG")
    assert (ROOT / name).stat().st_size <= 300_000
