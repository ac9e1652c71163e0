"""CUDA's libraries in NVIDIA's packages, with small libraries of the same names in their places."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import onnxruntime
import pytest

from infnet_runtime.backends.ort import libraries
from infnet_runtime.backends.ort.libraries import library_folders, preload_libraries

CUDA = ("cublasLt.so.13", "cublas.so.13", "nvrtc.so.13", "curand.so.10", "cufft.so.12", "cudart.so.13")
CUDNN = ("cudnn.so.9",)

# ONNX Runtime's own function, told that it was built with CUDA; what it printed must not be on stdout.
PROGRAM = """
import json, logging, sys
import onnxruntime
from infnet_runtime.backends.ort.libraries import preload_libraries

logging.basicConfig(level="INFO", stream=sys.stderr)
onnxruntime.cuda_version = "13.0"
said = preload_libraries()
maps = open("/proc/self/maps").read().split()
print(json.dumps({"said": said, "loaded": sorted({m for m in maps if sys.argv[1] in m})}))
"""

linux_with_gcc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("gcc") is None,
    reason="no gcc to make libraries with",
)


def packages(place: Path, *, cuda: bool = True, cudnn: bool = True, real: bool = False) -> None:
    """Folders as ``pip install nvidia-cublas nvidia-cudnn-cu13`` makes them."""
    for wanted, package, names in ((cuda, "cu13", CUDA), (cudnn, "cudnn", CUDNN)):
        folder = place / "nvidia" / package / "lib"
        for name in names if wanted else ():
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"lib{name}"
            if real:
                command = [
                    "gcc",
                    "-shared",
                    "-x",
                    "c",
                    "/dev/null",
                    f"-Wl,-soname,lib{name}",
                    "-o",
                    str(target),
                ]
                subprocess.run(command, check=True)
            else:
                target.write_text("no library")


def run(*places: Path) -> dict[str, list[str]]:
    code = f"import sys\nsys.path += {list(map(str, places))!r}\n{PROGRAM}"
    command = [sys.executable, "-c", code, str(places[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    assert all(f"onnxruntime: {line}" in done.stderr for line in found["said"])
    return found


@linux_with_gcc
def test_packages_of_pytorch_are_found_away_from_onnxruntime(tmp_path: Path) -> None:
    packages(tmp_path / "torch", real=True)
    found = run(tmp_path / "torch")
    assert {Path(p).name for p in found["loaded"]} == {f"lib{n}" for n in (*CUDA, *CUDNN)}
    assert found["said"] == []


@linux_with_gcc
def test_cuda_and_cudnn_in_different_places(tmp_path: Path) -> None:
    packages(tmp_path / "a", cudnn=False, real=True)
    packages(tmp_path / "b", cuda=False, real=True)
    found = run(tmp_path / "a", tmp_path / "b")
    assert len(found["loaded"]) == len(CUDA) + len(CUDNN)
    assert found["said"] == []


@linux_with_gcc
def test_what_cannot_be_loaded_is_told_and_not_printed(tmp_path: Path) -> None:
    packages(tmp_path / "torch")
    found = run(tmp_path / "torch")
    assert any("Failed to load" in line and "libcublas.so.13" in line for line in found["said"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="folders of Linux")
def test_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    packages(second)
    packages(first, cuda=False)
    assert library_folders("13.0", [first, second, tmp_path / "none"]) == (
        second / "nvidia" / "cu13" / "lib",
        first / "nvidia" / "cudnn" / "lib",
    )
    assert library_folders("13.0", []) == (None, None)
    # Of CUDA 12 every package has a folder, which ONNX Runtime finds itself; and a build without CUDA.
    assert library_folders("12.8", [first, second]) == (None, None)
    assert library_folders("", [first, second]) == (None, None)


def test_only_what_this_thread_prints_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def preload(**options: object) -> None:
        sys.stdout.write("Failed to load\n")
        other = threading.Thread(target=lambda: sys.stdout.write("a result\n"))
        other.start()
        other.join()

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    before = sys.stdout
    assert preload_libraries() == ["Failed to load"]
    assert sys.stdout is before
    assert capsys.readouterr().out == "a result\n"


def test_a_failure_gives_stdout_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def preload(**options: object) -> None:
        raise RuntimeError("Invalid parameter of directory")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    before = sys.stdout
    with pytest.raises(RuntimeError, match="Invalid parameter"), libraries._printed():
        preload_libraries()
    assert sys.stdout is before
