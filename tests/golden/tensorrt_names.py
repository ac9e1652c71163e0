"""Writes ``tensorrt_names.json``: which names each version of TensorRT's Python bindings has.

    python tests/golden/tensorrt_names.py

The bindings of each version are downloaded (1.3 MB each) and imported with three stand-in libraries in place
of TensorRT's own, so neither TensorRT nor a GPU is needed; gcc is. Add a version to ``VERSIONS`` when one
appears.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSIONS = ("10.13.3.9", "10.16.1.11", "11.0.0.114", "11.4.0.106")
RTX_VERSION = "1.7.1.116"
TARGET = Path(__file__).with_suffix(".json")

# Every class that the export or a runner has to do with.
CLASSES = (
    *("Builder", "BuilderFlag", "DataType", "EngineInspector", "IBuilderConfig", "ICudaEngine"),
    *("IExecutionContext", "IHostMemory", "ILayer", "ILogger", "INetworkDefinition", "IOptimizationProfile"),
    *("ITensor", "ITimingCache", "LayerInformationFormat", "LayerType", "Logger", "MemoryPoolType"),
    *("NetworkDefinitionCreationFlag", "OnnxParser", "ParserError", "ProfilingVerbosity", "Runtime"),
    *("TensorIOMode", "ExecutionContextAllocationStrategy", "IRuntimeConfig"),
    # Of TensorRT for RTX alone.
    *("CudaGraphStrategy", "DynamicShapesKernelSpecializationStrategy", "IRuntimeCache"),
)

# All that the bindings need of the libraries.
_INFER = (
    *("createInferBuilder_INTERNAL", "createInferRuntime_INTERNAL", "createInferRefitter_INTERNAL"),
    *("getPluginRegistry", "getBuilderPluginRegistry"),
)
_PARSER = ("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion")
_PLUGIN = ("initLibNvInferPlugins",)

_LIST_NAMES = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
classes = sys.argv[2:]
public = lambda thing: [n for n in dir(thing) if not n.startswith("_")]
names = {c: public(getattr(module, c)) for c in classes if hasattr(module, c)}
names[""] = [n for n in dir(module) if not n.startswith("__") or n == "__version__"]
print(json.dumps(names))
"""


def main() -> None:
    """Download, import, write."""
    with tempfile.TemporaryDirectory() as folder:
        found = {f"tensorrt {v}": _names_of(v, Path(folder) / v) for v in VERSIONS}
        found[f"tensorrt_rtx {RTX_VERSION}"] = _names_of_rtx(Path(folder) / "rtx")
    TARGET.write_text(json.dumps(_grouped(found), indent=1) + "\n", "utf-8")


def _names_of(version: str, folder: Path) -> dict[str, list[str]]:
    _download(f"tensorrt-cu13-bindings=={version}", folder)
    major = version.split(".")[0]
    for library, functions in (("nvinfer", _INFER), ("nvonnxparser", _PARSER), ("nvinfer_plugin", _PLUGIN)):
        _stand_in(folder / f"lib{library}.so.{major}", functions)
    return _listed("tensorrt_bindings", folder)


def _names_of_rtx(folder: Path) -> dict[str, list[str]]:
    for part in ("bindings", "libs"):
        _download(f"tensorrt-rtx-cu13-{part}=={RTX_VERSION}", folder)
    return _listed("tensorrt_rtx_bindings", folder)


def _download(requirement: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", requirement]
    subprocess.run([*pip, "-d", str(folder)], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()


def _stand_in(library: Path, functions: tuple[str, ...]) -> None:
    source = library.with_suffix(".c")
    source.write_text("".join(f"void *{f}(void) {{ return 0; }}\n" for f in functions))
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library), str(source)]
    subprocess.run(command, check=True)


def _listed(module: str, folder: Path) -> dict[str, list[str]]:
    places = os.pathsep.join(map(str, [folder, *folder.glob("*_libs")]))
    environment = os.environ | {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": places}
    command = [sys.executable, "-c", _LIST_NAMES, module, *CLASSES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    names: dict[str, list[str]] = json.loads(done.stdout)
    return names


def _grouped(found: dict[str, dict[str, list[str]]]) -> dict[str, object]:
    """Names by the versions that have them: one letter for each version."""
    letters = dict(zip("ABCDEFGH", found, strict=False))
    groups: dict[str, dict[str, list[str]]] = {}
    for owner in sorted({c for names in found.values() for c in names}):
        for name in sorted({n for names in found.values() for n in names.get(owner, [])}):
            has = "".join(letter for letter, v in letters.items() if name in found[v].get(owner, []))
            groups.setdefault(has, {}).setdefault(owner, []).append(name)
    joined = {has: {c: " ".join(names) for c, names in group.items()} for has, group in groups.items()}
    return {"versions": letters, "names": joined}


if __name__ == "__main__":
    main()
