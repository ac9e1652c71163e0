"""An engine and its sidecar on disk: both, or neither."""

import hashlib
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx

from infnet_export.graph.coarse_logits import coarse_in
from infnet_export.graph.onnx_file import manifest_in, read_onnx
from infnet_export.tensorrt.api import install_command
from infnet_export.tensorrt.builder import BuiltEngine, EngineSettings, build_plan, check_can_build
from infnet_runtime.backends.tensorrt.library import Package
from infnet_runtime.backends.tensorrt.sidecar import EngineSidecar, sidecar_path
from infnet_runtime.errors import BackendError, ModelError, OutputError
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.model.coarse_logits import CoarseSpec, outputs_promised
from infnet_runtime.model.manifest import ModelManifest

_HALF = ".fp16.onnx"
_HERE_MISSING = (5020, 5021, 5023)
"""Codes of what another machine may have: the package, the GPU, the version."""


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """An engine that was written.

    Parameters
    ----------
    parse_s, build_s : s
    """

    path: Path
    sidecar: EngineSidecar
    parse_s: float
    build_s: float


def build_engine(
    model: Path,
    output: Path,
    settings: EngineSettings,
    *,
    kept_in_fp32: Sequence[str] = (),
) -> EngineReport:
    """Build an engine from an ONNX file of infnet and write it with its sidecar.

    Parameters
    ----------
    model
        Stays as it is, also where no engine can be built.
    output
        The engine; ``<output>.json`` is its sidecar. What was there stays until both are ready.
    kept_in_fp32
        For the sidecar: what the conversion to half precision left out.

    Raises
    ------
    ModelError
        If the file is no ONNX model of infnet, or TensorRT does not take it.
    BackendError
        If TensorRT or the GPU is missing, with the commands to run elsewhere; or if the build fails.
    OutputError
        If the engine cannot be written, told before the build.
    """
    if output.resolve() == model.resolve():
        raise OutputError(f"{output} is the model itself; choose another name for the engine", code=8010)
    graph, content = read_onnx(model)
    manifest = manifest_in(graph, model)
    _check_signature(graph, manifest, model)
    try:
        check_can_build(settings.package)
    except BackendError as error:
        if error.code not in _HERE_MISSING:
            raise
        raise BackendError(_elsewhere(error, model, output, settings), code=error.code) from error
    sidecar = None
    try:
        with atomic_write(sidecar_path(output)) as beside, atomic_write(output) as file:
            built = build_plan(content, settings, source=str(model))
            sidecar = _sidecar(built, content, manifest, settings, kept_in_fp32, coarse_in(graph))
            beside.write(sidecar.to_json().encode())
            file.write(built.plan)
    except BaseException:
        # The engine takes its name first; if the sidecar then cannot, the engine goes again.
        if sidecar is not None:
            with suppress(OSError):
                _remove_undescribed(output, sidecar)
        raise
    return EngineReport(path=output, sidecar=sidecar, parse_s=built.parse_s, build_s=built.build_s)


def build_command(model: Path, output: Path, settings: EngineSettings) -> str:
    """The command that makes this engine from the file it was exported with, on any machine.

    Parameters
    ----------
    model
        What the engine is built from. Of ``m.fp16.onnx`` the command starts from the ``m.onnx`` beside it,
        where that is, because it makes the FP16 file itself.

    Examples
    --------
    >>> build_command(Path("m.onnx"), Path("out/m.plan"), EngineSettings())
    'infnet-export m.onnx -o out --trt --batch 1:4:8'
    """
    plain = model.with_name(model.name.removesuffix(_HALF) + ".onnx")
    source = plain if model.name.endswith(_HALF) and plain.is_file() else model
    kind = "--rtx" if settings.package is Package.RTX else "--trt"
    words = ["infnet-export", str(source), "-o", str(output.parent), kind, "--batch", str(settings.batch)]
    default = EngineSettings()
    if settings.workspace_mib != default.workspace_mib:
        words += ["--workspace", str(settings.workspace_mib)]
    if settings.level != default.level:
        words += ["--level", str(settings.level)]
    if settings.tf32:
        words.append("--tf32")
    if settings.timing_cache is not None:
        words += ["--timing-cache", str(settings.timing_cache)]
    return shlex.join(words)


def _elsewhere(error: BackendError, model: Path, output: Path, settings: EngineSettings) -> str:
    where, older = "On a machine with Linux on x86-64, with or without a GPU", ""
    if settings.package is Package.TENSORRT:
        where = "On a machine with the NVIDIA GPU the engine is meant for and driver r580 or newer"
        older = (
            "; with driver r535 to r579 also: pip uninstall tensorrt, pip install 'tensorrt-cu12>=10.13,<12'"
        )
    return (
        f"{error.args[0]}. {output} was not built; {model} is complete and needs nothing from here. {where}, "
        f"run: {install_command(settings.package)} && {build_command(model, output, settings)}{older}"
    )


def _check_signature(graph: onnx.ModelProto, manifest: ModelManifest, model: Path) -> None:
    shape = [0, *manifest.preprocess.input_shape]
    promised = list(outputs_promised(manifest, coarse_in(graph)))
    inputs = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.graph.input]
    outputs = [v.name for v in graph.graph.output]
    # A free dimension reads as 0.
    if inputs != [shape] or outputs != promised:
        raise ModelError(
            f"{model} takes {inputs} (0 is free) and gives {outputs}, its manifest promises one input with "
            f"free batch, {shape}, and {', '.join(map(repr, promised))}; export it again with infnet-export",
            code=4033,
        )


def _sidecar(
    built: BuiltEngine,
    content: bytes,
    manifest: ModelManifest,
    settings: EngineSettings,
    kept_in_fp32: Sequence[str],
    coarse: CoarseSpec | None,
) -> EngineSidecar:
    return EngineSidecar(
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        package=str(settings.package),
        version=built.version,
        gpu=built.gpu,
        batch=settings.batch,
        inputs=built.inputs,
        outputs=built.outputs,
        layers=built.layers,
        kept_in_fp32=tuple(kept_in_fp32),
        tf32=built.tf32,
        manifest=manifest,
        coarse=coarse,
    )


def _remove_undescribed(output: Path, sidecar: EngineSidecar) -> None:
    """Take away the new engine if the sidecar on disk is not its own; an older engine stays."""
    if hashlib.sha256(output.read_bytes()).hexdigest() != sidecar.plan_sha256:
        return
    try:
        text = sidecar_path(output).read_bytes()
        described = EngineSidecar.from_json(text, source=str(output)).plan_sha256
    except (OSError, ModelError):
        described = ""
    if described != sidecar.plan_sha256:
        output.unlink()
