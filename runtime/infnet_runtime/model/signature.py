"""Inputs and outputs of a model against what its manifest promises, whoever read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.coarse_logits import OutputShapes
from infnet_runtime.model.manifest import METADATA_KEY, ManifestError, ModelManifest

FLOAT = "float32"
_LISTED = 4  # inputs or outputs in a message
_Shape = tuple[int | str | None, ...]


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a graph.

    Parameters
    ----------
    dtype
        ``float32`` for what is expected, else the reader's own word.
    shape
        A number where an axis is fixed, a name or None where it is free; None as a whole where it is not
        known.
    """

    name: str
    dtype: str
    shape: _Shape | None

    def __str__(self) -> str:
        sizes = ("?" if size is None else str(size) for size in self.shape or ())
        return f"'{self.name}' {self.dtype} ({', '.join(sizes)})"


def read_manifest(text: str | None, model: Path) -> ModelManifest:
    """The manifest of a model, from its metadata.

    Raises
    ------
    ManifestError
        If it is absent or refused.
    """
    if text is None:
        raise ManifestError(
            f"{model} is an ONNX model without '{METADATA_KEY}': it does not say how slices are prepared. "
            "Only models written by infnet-export are run",
            code=4020,
        )
    return ModelManifest.from_json(text, source=str(model))


def check_signature(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    manifest: ModelManifest,
    model: Path,
    *,
    promised: OutputShapes,
) -> str:
    """Compare inputs and outputs with the contract. The order of the outputs is no matter.

    Parameters
    ----------
    promised
        The outputs that there must be.

    Returns
    -------
    The name of the input.

    Raises
    ------
    ModelError
        If they are others than the manifest promises, or the number of slices is fixed.
    """
    shape = manifest.preprocess.input_shape
    # Of the outputs a backend may not know every size.
    kept = (
        len(inputs) == 1
        and inputs[0].dtype == FLOAT
        and inputs[0].shape is not None
        and inputs[0].shape[1:] == shape
        and sorted(o.name for o in outputs) == sorted(promised)
        and all(o.dtype == FLOAT and _may_be(o.shape, promised[o.name]) for o in outputs)
    )
    if not kept:
        raise ModelError(
            f"{model} takes {_listed(inputs)} and gives {_listed(outputs)}, its manifest promises one "
            f"{FLOAT} input (n, {', '.join(map(str, shape))}) and {', '.join(map(repr, promised))}; export "
            "it again with infnet-export",
            code=4033,
        )
    for port in (*inputs, *outputs):
        if port.shape and isinstance(port.shape[0], int):
            raise ModelError(
                f"{model} has a fixed number of slices in {port}, expected a free one, as scans differ; "
                "export it again with infnet-export, and simplify or convert it without fixed shapes",
                code=4047,
            )
    return inputs[0].name


def damaged(model: Path, error: Exception) -> ModelError:
    """The refusal of a file that a backend could not load."""
    lines = [line.strip() for line in str(error).splitlines()]
    # OpenVINO begins with the places in its own sources.
    telling = [line for line in lines if line and not line.startswith("Exception from")]
    said = telling[0] if telling else type(error).__name__
    return ModelError(
        f"{model} cannot be loaded as an ONNX model ({said}); it is damaged, keeps "
        "weights in other files, or is of another kind; export it again with infnet-export",
        code=4031,
    )


def _may_be(found: _Shape | None, promised: tuple[int, ...]) -> bool:
    if found is None:
        return True
    sizes = zip(found[1:], promised, strict=False)
    return len(found) == 1 + len(promised) and all(not isinstance(f, int) or f == p for f, p in sizes)


def _listed(ports: Sequence[Port]) -> str:
    more = f" and {len(ports) - _LISTED} more" if len(ports) > _LISTED else ""
    return (", ".join(map(str, ports[:_LISTED])) or "nothing") + more
