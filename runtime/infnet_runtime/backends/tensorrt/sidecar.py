"""What lies beside a TensorRT engine, and the checks before one is used.

An engine carries no text of its own, so its manifest, its origin and what it runs on are in
``<engine>.json``. An engine is refused without it, or where it was built by another TensorRT or for another
GPU: TensorRT's own answer to a foreign plan is an error number at best.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infnet_runtime.backends.cuda.driver import Gpu
from infnet_runtime.errors import InputError, ModelError
from infnet_runtime.model.arithmetic import BF16, FLOAT16, FLOAT32, INT8, TF32, computed_in
from infnet_runtime.model.coarse_logits import CoarseSpec
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.plain import from_plain, to_plain, values_of_json

SIDECAR_VERSION = 2
_FLOATS = (("HALF", FLOAT16), ("BF16", BF16))  # TensorRT's names and ours
_END = 2**31  # TensorRT counts in 32 bits


@dataclass(frozen=True)
class BatchRange:
    """How many slices an engine takes at once.

    Parameters
    ----------
    smallest, usual, largest
        It is tuned for ``usual`` and refuses what lies outside the others.
    """

    smallest: int = 1
    usual: int = 4
    largest: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.usual <= self.largest < _END:
            raise InputError(
                f"batch {self} does not rise from 1, below 2^31; expected MIN:OPT:MAX such as 1:4:8",
                code=3140,
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``MIN:OPT:MAX``.

        Examples
        --------
        >>> BatchRange.parse("1:4:8").usual
        4
        """
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise InputError(f"batch is '{text}', expected MIN:OPT:MAX such as 1:4:8", code=3140)
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f"{self.smallest}:{self.usual}:{self.largest}"


DEFAULT_BATCH = BatchRange()


@dataclass(frozen=True, kw_only=True)
class EngineTensor:
    """An input or output of an engine.

    Parameters
    ----------
    dtype
        As TensorRT calls it: ``FLOAT``, ``HALF``, ``UINT8``.
    shape
        -1 where the size of the batch stands.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EngineSidecar:
    """Everything a host must know about an engine.

    Parameters
    ----------
    plan_sha256, plan_bytes
        Of the engine.
    onnx_sha256
        Of the file it was built from.
    package, version
        ``tensorrt`` or ``tensorrt_rtx``, and its version; an engine runs on this version alone.
    gpu
        Where it was built; absent for TensorRT for RTX, whose engines are finished on the GPU they run on.
    layers
        Element type to number of layers that give it, constants left out. Types are fixed by the ONNX file
        (strong typing), so this is what the engine computes in.
    kept_in_fp32
        Names of nodes or modules that were kept in single precision.
    tf32
        Whether layers in single precision may round what they multiply to 10 bits.
    coarse
        The coarse logits among the outputs, where there are some.
    """

    plan_sha256: str
    plan_bytes: int
    onnx_sha256: str
    package: str
    version: str
    gpu: Gpu | None
    batch: BatchRange
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    layers: dict[str, int]
    kept_in_fp32: tuple[str, ...]
    tf32: bool
    manifest: ModelManifest
    sidecar_version: int = SIDECAR_VERSION
    coarse: CoarseSpec | None = None

    @property
    def precision(self) -> str:
        """What the engine computes in, see :attr:`~infnet_runtime.backends.session.Session.precision`."""
        names = {name.upper() for name in self.layers}
        single = TF32 if self.tf32 else FLOAT32
        floats = next((word for name, word in _FLOATS if name in names), single)
        return computed_in(INT8 if "INT8" in names else floats, floats)

    def to_json(self) -> str:
        """Indented JSON, keys sorted."""
        values = to_plain(self)
        values["manifest"] = json.loads(self.manifest.to_json())
        if self.coarse is None:  # older versions know no such key
            del values["coarse"]
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str) -> Self:
        """Read a sidecar.

        Raises
        ------
        ModelError
            If it is damaged, of another version, or has unknown or missing keys.
        """
        try:
            values = values_of_json(text)
        except ValueError as error:
            raise ModelError(f"{source} is not JSON ({error}); build the engine again", code=4041) from error
        found = values.get("sidecar_version") if isinstance(values, dict) else None
        if found != SIDECAR_VERSION:
            raise ModelError(
                f"{source} has format {found}, this version of infnet reads {SIDECAR_VERSION}; "
                "build the engine again",
                code=4041,
            )

        def manifest(plain: object) -> ModelManifest:
            return ModelManifest.from_json(json.dumps(plain), source=source)

        try:
            return from_plain(cls, values, source, keys="unchecked", readers={ModelManifest: manifest})
        except (TypeError, ValueError, InputError) as error:
            raise ModelError(
                f"{source} is damaged or of another version of infnet ({error!r}); build the engine again",
                code=4041,
            ) from error

    def check_runs_with(self, *, package: str, version: str, capability: str) -> None:
        """Refuse an engine that was built by another TensorRT or for another GPU.

        Parameters
        ----------
        package, version
            Of the TensorRT at hand.
        capability
            Compute capability of the GPU at hand, such as ``9.0``.

        Raises
        ------
        ModelError
            If they differ. An engine built without a GPU runs on any that its package takes.
        """
        if (self.package, self.version) != (package, version):
            raise ModelError(
                f"the engine was built by {self.package} {self.version}, here is {package} {version}; an "
                "engine runs on the version that built it: install that one, or build the engine again",
                code=4043,
            )
        if self.gpu is not None and self.gpu.capability != capability:
            raise ModelError(
                f"the engine was built on {self.gpu.name} (compute capability {self.gpu.capability}), the "
                f"GPU here has {capability}; build the engine again on this machine",
                code=4044,
            )


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine is.

    Examples
    --------
    >>> sidecar_path(Path("model.plan")).name
    'model.plan.json'
    """
    return engine.with_name(engine.name + ".json")


def read_engine(path: Path) -> tuple[bytes, EngineSidecar]:
    """Plan and sidecar of an engine, which belong together.

    Raises
    ------
    ModelError
        If either is missing, the sidecar is refused, or it speaks of another plan.
    """
    beside = sidecar_path(path)
    missing = [str(p) for p in (path, beside) if not p.is_file()]
    if missing:
        raise ModelError(
            f"no engine at {path}: {' and '.join(missing)} missing; copy both files, or build the engine "
            "again",
            code=4040,
        )
    sidecar = EngineSidecar.from_json(beside.read_bytes(), source=str(beside))
    plan = path.read_bytes()
    if hashlib.sha256(plan).hexdigest() != sidecar.plan_sha256:
        raise ModelError(
            f"{path} ({len(plan)} bytes) is not the engine that {beside} describes ({sidecar.plan_bytes} "
            "bytes): cut off, changed, or of another build; copy both files again, or build the engine again",
            code=4042,
        )
    return plan, sidecar
