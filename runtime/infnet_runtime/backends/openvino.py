"""OpenVINO on the CPU, in single precision or in bfloat16. The only file that imports it.

Left alone, the library takes bfloat16 or float16 where the processor has units for them, which moved
probabilities of the shipped model by 0.03. Here the precision is always stated
(:mod:`~infnet_runtime.backends.precision`). Layers that a model quantises run in 8 bit with any.

It compiles for seconds, so compiled models are kept (:mod:`~infnet_runtime.backends.compiled`).
"""

import hashlib
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends.compiled import CompiledModels
from infnet_runtime.backends.precision import AUTO, BF16, F32, choose
from infnet_runtime.backends.session import ClosedByBlock, Outputs, closed, failed
from infnet_runtime.cancel import in_turn
from infnet_runtime.cpu import int8_unit
from infnet_runtime.errors import BackendError, ModelError
from infnet_runtime.heap import give_back
from infnet_runtime.home import Home, in_forked_child
from infnet_runtime.instructions import cpu_flags
from infnet_runtime.model.arithmetic import BF16 as BF16_WORD
from infnet_runtime.model.arithmetic import FLOAT32, INT8, computed_in, form_of
from infnet_runtime.model.asked import Asked
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.coarse_logits import CoarseSpec, OutputShapes, outputs_given
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.recognise import recognised
from infnet_runtime.model.signature import FLOAT, Port, check_signature, damaged
from infnet_runtime.version import __version__

logger = logging.getLogger(__name__)

_WORDS = {F32: FLOAT32, BF16: BF16_WORD}
_CAPABILITY = "BF16"  # listed where bfloat16 is multiplied in one instruction, not where it is imitated

# With units for 8-bit products 4 slices at once take 13 % less CPU time than one by one. Without, they take
# as long (8 bit) or 11 % longer (float32), and 85 or 170 MiB more.
_BATCH_WITH_UNITS, _BATCH = 4, 1

# What the library compiles differently for, besides what it is told: see _key.
_VARIABLES = ("DNNL_", "ONEDNN_", "OV_")

_TELEMETRY = "openvino_telemetry"
_IMPORTING = threading.Lock()

# oneTBB, which computes for the library, starts its threads once for a process, and goes on without them in
# one that was forked from it.
_pool_started = _pool_left_behind = False


def _forget_the_parent() -> None:
    """In a forked child: a thread that is not there may have held the lock."""
    global _IMPORTING, _pool_left_behind
    _IMPORTING, _pool_left_behind = threading.Lock(), _pool_started


in_forked_child(_forget_the_parent)


@dataclass(frozen=True)
class _Part:
    """A graph that is compiled: what runs it, its input, and its outputs in the library's order."""

    request: Any
    source: str
    outputs: list[str]


class OpenVinoSession(ClosedByBlock):
    """A model in OpenVINO; satisfies :class:`~infnet_runtime.backends.session.Session`.

    Calls from several threads run one after another. The batch stays free: another number of slices costs no
    compilation and changes no byte of a slice's result.

    Parameters
    ----------
    content
        Of the file, where it has none yet; ``model`` then names it in messages.
    kept
        Where compiled models are kept between processes; absent, the model is compiled here and now.
    precision
        ``f32`` or ``bf16`` for the layers that are not quantised, used or refused; ``auto`` takes bf16 where
        the processor has units for it and the file a record that it passed.
    coarse
        Give coarse logits in the place of the probabilities, where the file has them.
    asked
        Outputs that are given.

    Raises
    ------
    ModelError
        If the file is no ONNX model, has no manifest or other inputs and outputs than the contract, or no
        record that it passed in the precision asked for.
    BackendError
        If OpenVINO cannot be loaded, the processor has no units for the precision asked for, or the library
        would compute in another.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        batch_size: int | None = None,
        content: bytes | None = None,
        kept: CompiledModels | None = None,
        precision: str = AUTO,
        coarse: bool = False,
        asked: Asked = Asked.EVERY,
    ) -> None:
        self._home = Home(self)
        openvino = load_openvino()
        _note_the_pool(threads)
        content = read_whole(model) if content is None else content
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        self.device = "cpu"
        self.batch_size = batch_size or (_BATCH_WITH_UNITS if int8_unit() else _BATCH)
        self._one_at_a_time = threading.Lock()
        whole = recognised(content, model)
        file = whole.only(asked, model)
        self.manifest = file.manifest
        self.coarse = file.coarse if coarse else None
        promised = outputs_given(self.manifest, self.coarse)
        core = core_of(openvino)
        wanted = choose(precision, able=can_bf16(core), content=content, manifest=whole.manifest, model=model)
        settings = {
            "INFERENCE_PRECISION_HINT": wanted,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self.backend = f"openvino {_short(openvino.__version__)} (CPU, {wanted})"
        form = form_of(content)
        self.precision = computed_in(form, _WORDS[wanted])
        self._parts: list[_Part] = []
        for given in _graphs(promised, self.manifest, self.coarse, exact=form != INT8 and wanted == F32):
            key = _key(openvino.__version__, core, self.model_sha256, given, settings)
            ports = partial(_checked_ports, manifest=self.manifest, model=model, promised=given)
            compiled = _kept(kept, key, core, settings, ports)
            if compiled is None:
                compiled = _compiled(core, file.cut_to(content, given), settings, ports, model)
                if kept is not None and not kept.trouble():
                    kept.keep(key, compiled.export_model().getbuffer())
            used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            if used != wanted:
                raise BackendError(
                    f"OpenVINO was asked to compute in {wanted} and would compute in {used}; use another "
                    "backend",
                    code=5016,
                )
            names = [_output_name(port, given) for port in compiled.outputs]
            self._parts.append(_Part(compiled.create_infer_request(), ports(compiled), names))

    def run(self, batch: FloatArray) -> Outputs:
        """Run one batch."""
        self._home.check()
        with in_turn(self._one_at_a_time):
            if not self._parts:
                raise closed()
            try:
                outputs: dict[str, FloatArray] = {}
                for part in self._parts:
                    results = part.request.infer({part.source: batch})
                    # Copies: the next call writes to the same memory.
                    outputs |= {name: np.array(results[k]) for k, name in enumerate(part.outputs)}
                return outputs
            except Exception as error:  # as above
                raise failed(self, error) from error

    def close(self) -> None:
        """Release the model."""
        if self._home.is_here:
            with self._one_at_a_time:
                self._parts = []
            give_back()


def _note_the_pool(threads: int) -> None:
    global _pool_started
    _pool_started = True
    if _pool_left_behind and threads > 1:
        logger.warning(
            "OpenVINO computes with one thread and not with %d: this process was forked from one that had "
            "loaded a model, and its threads were not. Load after the fork alone, or start processes with "
            "multiprocessing's 'spawn'",
            threads,
        )


def _graphs(
    promised: OutputShapes, manifest: ModelManifest, coarse: CoarseSpec | None, *, exact: bool
) -> list[OutputShapes]:
    """Outputs that are compiled together: the infection by itself where another graph would change it.

    With 8-bit layers or bfloat16 the library chooses where to round by the whole graph. Classes on the
    features of the shipped 8-bit model moved logits of the infection by up to 0.8, on noise, with AVX2; in
    single precision by nothing. Whether a mask is the same must not depend on what else is asked for.
    """
    if exact or len(promised) == 1:
        return [promised]
    name = manifest.output.name if coarse is None else coarse.output
    others = {other: shape for other, shape in promised.items() if other != name}
    return [{name: promised[name]}, others]


def load_openvino() -> Any:  # noqa: ANN401 - untyped library
    """Import OpenVINO without its telemetry.

    The plain import tells Google Analytics and leaves an identifier in the home folder. Where the package
    that does so is absent, OpenVINO uses a stub of its own; so it is made to look absent for that moment.

    Raises
    ------
    BackendError
        If it is not installed, or its libraries cannot be loaded.
    """
    with _IMPORTING:
        silenced = _TELEMETRY not in sys.modules
        if silenced:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # what Python calls an absent module
        try:
            openvino = importlib.import_module("openvino")
        except (ImportError, OSError) as error:
            raise _not_loaded(error) from error
        finally:
            if silenced:
                del sys.modules[_TELEMETRY]
    if not hasattr(openvino, "Core"):  # it was elsewhere in the package, and a folder of the name has none
        found = getattr(openvino, "__version__", "of unknown version")
        raise _not_loaded(f"found {found} in {getattr(openvino, '__path__', '')}, expected 2025.0 or newer")
    return openvino


def _not_loaded(why: object) -> BackendError:
    said = " ".join(str(why).split())
    return BackendError(f"OpenVINO cannot be loaded ({said}): pip install 'infnet[openvino]'", code=5015)


def core_of(openvino: Any) -> Any:  # noqa: ANN401 - untyped library
    """The library with its plug-in for the CPU.

    Raises
    ------
    BackendError
        If the plug-in is not there or does not load: it is a file of its own, and comes up when it is asked.
    """
    try:
        core = openvino.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")
    except Exception as error:  # its exceptions have no common base of their own
        raise _not_loaded(error) from error
    return core


def can_bf16(core: Any) -> bool:  # noqa: ANN401 - untyped library
    """Whether the processor has units for bfloat16, as the library finds."""
    return _CAPABILITY in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compiled(
    core: Any,  # noqa: ANN401 - untyped library
    content: bytes,
    settings: dict[str, Any],
    ports: Callable[[Any], str],
    model: Path,
) -> Any:  # noqa: ANN401 - as above
    """A model, compiled here and now.

    Parameters
    ----------
    ports
        Checks inputs and outputs.

    Raises
    ------
    ModelError
        If the library cannot load it, or finds other inputs and outputs than the contract.
    """
    try:
        graph = core.read_model(content)
    except Exception as error:  # its exceptions have no common base of their own
        raise damaged(model, error) from error
    # Again: now with what the library finds out about the sizes inside.
    ports(graph)
    try:
        return core.compile_model(graph, "CPU", settings)
    except Exception as error:  # as above
        raise damaged(model, error) from error


def _kept(
    kept: CompiledModels | None,
    key: str,
    core: Any,  # noqa: ANN401 - untyped library
    settings: dict[str, Any],
    ports: Callable[[Any], str],
) -> Any:  # noqa: ANN401 - as above
    """A model that was compiled before; None where there is none, or none that the library takes."""
    blob = None if kept is None else kept.read(key)
    if kept is None or blob is None:
        return None
    try:
        compiled = core.import_model(blob, "CPU", settings)
        ports(compiled)
    except ModelError:
        logger.info("a compiled model in %s is another one, compiling again", kept.folder)
    except Exception as error:  # as in _compiled
        logger.info("a compiled model in %s is not taken (%s), compiling again", kept.folder, str(error))
    else:
        logger.info("compiled model read from %s", kept.folder)
        return compiled
    kept.forget(key)
    return None


def _key(
    version: str,
    core: Any,  # noqa: ANN401 - untyped library
    model_sha256: str,
    promised: OutputShapes,
    settings: dict[str, Any],
) -> str:
    """Everything that a compiled model depends on."""
    facts = {
        "infnet": __version__,  # which may cut the graph in another way
        "openvino": version,
        "model": model_sha256,
        "outputs": list(promised),
        "settings": settings,
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "flags": sorted(cpu_flags()),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VARIABLES)},
    }
    return json.dumps(facts, sort_keys=True)


def _checked_ports(
    graph: Any,  # noqa: ANN401 - untyped library
    manifest: ModelManifest,
    model: Path,
    promised: OutputShapes,
) -> str:
    """Compare inputs and outputs with the contract; the name of the input.

    Raises
    ------
    ModelError
        If they are others.
    """
    outputs = [_port(port, _output_name(port, promised)) for port in graph.outputs]
    inputs = [_port(port, port.any_name) for port in graph.inputs]
    return check_signature(inputs, outputs, manifest, model, promised=promised)


def _output_name(port: Any, promised: OutputShapes) -> str:  # noqa: ANN401 - untyped library
    """Of the names that the library gives to a port, the promised one."""
    names = port.get_names()
    return next((name for name in promised if name in names), str(port.any_name))


def _port(port: Any, name: str) -> Port:  # noqa: ANN401 - untyped library
    dtype, shape = port.get_element_type().to_string(), port.get_partial_shape()
    sizes = None
    if shape.rank.is_static:
        sizes = tuple(d.get_length() if d.is_static else None for d in shape)
    return Port(name=name, dtype=FLOAT if dtype == F32 else dtype, shape=sizes)


def _short(version: str) -> str:
    """``2026.4.1`` of ``2026.4.1-22982-e213a14-releases/2026/4``."""
    return version.split("-")[0]


def lungs_in_openvino(
    content: bytes, model: Path, kept: CompiledModels | None = None
) -> Callable[[FloatArray], FloatArray]:
    """What runs a lung network, in single precision and on one thread.

    Raises
    ------
    ModelError
        If OpenVINO does not take it.
    BackendError
        If OpenVINO cannot be loaded.
    """
    openvino = load_openvino()
    _note_the_pool(1)
    core = core_of(openvino)
    settings = {
        "INFERENCE_PRECISION_HINT": F32,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
    }

    def source(graph: Any) -> str:  # noqa: ANN401 - untyped library
        return str(graph.inputs[0].any_name)

    key = _key(openvino.__version__, core, hashlib.sha256(content).hexdigest(), {}, settings)
    compiled = _kept(kept, key, core, settings, source)
    if compiled is None:
        compiled = _compiled(core, content, settings, source, model)
        if kept is not None and not kept.trouble():
            kept.keep(key, compiled.export_model().getbuffer())
    name, request = source(compiled), compiled.create_infer_request()

    def run(batch: FloatArray) -> FloatArray:
        return np.array(request.infer({name: batch})[0])

    return run
