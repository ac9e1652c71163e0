"""The export uses nothing of TensorRT that one of its versions lacks; read from the bindings, without a GPU.

``tests/golden/tensorrt_names.py`` writes the names of each version.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infnet_export.tensorrt import api, builder
from infnet_export.tensorrt.api import RTX_NAMES, TENSORRT_NAMES
from infnet_runtime.backends.tensorrt import library

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tensorrt_names.json").read_text("utf-8"))
ALL_VERSIONS = "".join(GOLDEN["versions"])
MODULE_NAME = "trt"  # what the sources call the module

# What a backend that runs engines has at its disposal in all versions.
RUNNER_NAMES = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        *("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape"),
        *("get_tensor_profile_shape", "num_optimization_profiles", "create_execution_context"),
        *("create_engine_inspector", "device_memory_size_v2"),
    ),
    "IExecutionContext": (
        *("set_input_shape", "infer_shapes", "get_tensor_shape", "set_tensor_address", "execute_async_v3"),
        "set_optimization_profile_async",
    ),
    "IHostMemory": ("nbytes",),
    "TensorIOMode": ("INPUT", "OUTPUT"),
}


def names_of(owner: str, versions: str = ALL_VERSIONS) -> set[str]:
    """Names of a class that are in all the versions given, or more."""
    groups = (g.get(owner, "") for has, g in GOLDEN["names"].items() if set(versions) <= set(has))
    return {name for text in groups for name in text.split()}


def missing(table: dict[str, tuple[str, ...]], versions: str = ALL_VERSIONS) -> list[str]:
    return [
        f"{owner}.{name}"
        for owner, names in table.items()
        for name in names
        if name not in names_of(owner, versions)
    ]


def used_beside_the_table(source: str) -> list[str]:
    """Names of TensorRT in a source that the table does not have."""
    anywhere = {n for g in GOLDEN["names"].values() for c, t in g.items() if c for n in t.split()}
    allowed = {n for table in (TENSORRT_NAMES, RTX_NAMES) for names in table.values() for n in names}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            if node.attr in anywhere - allowed:
                found.append(node.attr)
            found += _of_the_module(node)
    return sorted(set(found))


def _of_the_module(node: ast.Attribute) -> Iterator[str]:
    """``trt.Class`` and ``trt.Class.name``."""
    owner = node.value
    if isinstance(owner, ast.Name) and owner.id == MODULE_NAME:
        if node.attr not in TENSORRT_NAMES and node.attr not in TENSORRT_NAMES[""]:
            yield node.attr
    elif (
        isinstance(owner, ast.Attribute)
        and isinstance(owner.value, ast.Name)
        and owner.value.id == MODULE_NAME
        and node.attr not in (*TENSORRT_NAMES.get(owner.attr, ()), *RTX_NAMES.get(owner.attr, ()), "__init__")
    ):
        yield f"{owner.attr}.{node.attr}"


def test_versions_from_the_first_to_the_newest() -> None:
    versions = list(GOLDEN["versions"].values())
    assert versions[0] == "tensorrt 10.13.3.9"
    assert "tensorrt_rtx" in versions[-1]
    assert {v.split()[1].split(".")[0] for v in versions} == {"10", "11", "1"}


def test_every_name_is_in_every_version() -> None:
    assert missing(TENSORRT_NAMES) == []
    assert [c for c in TENSORRT_NAMES if c and c not in names_of("")] == []


def test_every_name_of_a_runner_is_in_every_version() -> None:
    assert missing(RUNNER_NAMES) == []


def test_names_of_rtx_are_in_rtx_alone() -> None:
    rtx = ALL_VERSIONS[-1]
    assert "tensorrt_rtx" in GOLDEN["versions"][rtx]
    assert missing(RTX_NAMES, rtx) == []
    assert len(missing(RTX_NAMES)) == sum(map(len, RTX_NAMES.values()))


def test_the_precision_switch_is_gone() -> None:
    """And the table of names can tell: its absence from one version is seen."""
    assert "FP16" in names_of("BuilderFlag", "A")
    assert missing({"BuilderFlag": ("FP16", "TF32")}) == ["BuilderFlag.FP16"]
    assert missing({"Builder": ("build_engine_with_config",)}) == ["Builder.build_engine_with_config"]


@pytest.mark.parametrize("module", [api, builder, library], ids=lambda m: m.__name__)
def test_the_sources_use_nothing_else(module: object) -> None:
    assert used_beside_the_table(Path(str(module.__file__)).read_text("utf-8")) == []  # type: ignore[attr-defined]


def test_the_table_names_nothing_that_is_not_used() -> None:
    source = "".join(Path(str(m.__file__)).read_text("utf-8") for m in (api, builder, library))
    attributes = {n.attr for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)}
    defined = {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}
    used = attributes | defined
    assert {n for names in TENSORRT_NAMES.values() for n in names} <= used


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", ["BuilderFlag.FP16", "FP16"]),
        ("layer.precision = half", ["precision"]),
        ("builder.build_engine_with_config(n, c)", ["build_engine_with_config"]),
        ("trt.init_libnvinfer_plugins(log, '')", ["init_libnvinfer_plugins"]),
        ("config.clear_flag(trt.BuilderFlag.TF32)", []),
    ],
)
def test_the_reader_of_sources_sees_other_names(source: str, found: list[str]) -> None:
    assert used_beside_the_table(source) == found
