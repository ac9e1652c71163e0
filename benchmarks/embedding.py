"""What the way through C++ costs over Python's own call, and the latency of the first and the last volume.

    python benchmarks/embedding.py [--volumes 100] [--model MODEL.onnx] [--backend NAME] [--json FILE]

One C++ program embeds the runtime (``embedding.cpp``, compiled here). The same phantom in the same memory
goes through ``infnet::Model::predict`` and through ``predict_buffer``, one thread each, in turns that change
their order. ``overhead`` is the CPU time of the one over that of the other: of the medians, and of the
fastest; ``overhead_ms`` is the difference of the medians, which does not depend on the size of a volume.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.embedding.place import cmake_dir
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.scan.phantom import chest_phantom

HERE = Path(__file__).parent
PROJECT = f"""cmake_minimum_required(VERSION 3.18)
project(embedding LANGUAGES CXX)
set(CMAKE_BUILD_TYPE Release)
find_package(infnet CONFIG REQUIRED)
add_executable(embedding {HERE / "embedding.cpp"})
target_link_libraries(embedding PRIVATE infnet::infnet)
"""


def program(folder: Path) -> Path:
    """Compile it."""
    (folder / "CMakeLists.txt").write_text(PROJECT, "utf-8")
    build = folder / "build"
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dinfnet_DIR={cmake_dir()}"]
    for command in (["cmake", "-S", folder, "-B", build, *options], ["cmake", "--build", build]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "embedding"


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """Ratios of what was measured."""
    cpp, python, wall = told["cpp_cpu_s"], told["python_cpu_s"], told["cpp_wall_s"]
    medians = statistics.median(cpp), statistics.median(python)
    return {
        "volumes": len(cpp),
        "overhead": round(medians[0] / medians[1] - 1, 4),
        "overhead_of_the_fastest": round(min(cpp) / min(python) - 1, 4),
        "overhead_ms": round(1000 * (medians[0] - medians[1]), 2),
        "volume_cpu_ms": round(1000 * medians[1], 1),
        "first_ms": round(1000 * wall[0], 1),
        "last_ms": round(1000 * wall[-1], 1),
        "median_ms": round(1000 * statistics.median(wall), 1),
        "masks_equal": told["equal"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--model", default="")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom = chest_phantom((12, 72, 96), (20.0, 4.5, 4.0))
        write_nifti(folder / "phantom.nii.gz", phantom.hu.astype(np.int16), phantom.affine)
        words = [options.model, folder / "phantom.nii.gz", str(options.volumes), options.backend]
        told = subprocess.run([program(folder), *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = summary(json.loads(told))
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
