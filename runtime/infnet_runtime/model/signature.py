"""The checks that every ONNX model passes before it runs, whatever reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import METADATA_KEY, ManifestError, ModelManifest


@dataclass(frozen=True, kw_only=True)
class GraphInput:
    """An input of a graph.

    Parameters
    ----------
    dtype
        ``float32`` for what is expected, else the backend's own word.
    sizes
        Of every axis but the first, which is the batch.
    """

    name: str
    dtype: str
    sizes: tuple[int | str | None, ...]


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
    inputs: Sequence[GraphInput], outputs: Sequence[str], manifest: ModelManifest, model: Path
) -> str:
    """Compare inputs and outputs with the contract. The order of the outputs is no matter.

    Returns
    -------
    The name of the input.

    Raises
    ------
    ModelError
        If they are others than the manifest promises.
    """
    shape, names = manifest.preprocess.input_shape, [spec.name for spec in manifest.outputs]
    found = [(i.dtype, i.sizes) for i in inputs]
    if found != [("float32", shape)] or sorted(outputs) != sorted(names):
        raise ModelError(
            f"{model} takes {found} and gives {list(outputs)}, its manifest promises one float32 input "
            f"(n, {', '.join(map(str, shape))}) and {', '.join(map(repr, names))}; export it again with "
            "infnet-export",
            code=4033,
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
