"""ONNX files: read with their manifest, checked, and written the same every time."""

from collections import Counter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

from infnet_runtime.errors import ModelError
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.manifest import METADATA_KEY, ManifestError, ModelManifest
from infnet_runtime.model.protobuf import message, spans, text
from infnet_runtime.model.recognise import refuse_other_kinds

_METADATA = 14  # field of ``onnx.proto``
_KEY, _VALUE = 1, 2  # of an entry of metadata

BATCH_DIMENSION = "n"
"""What the free dimension of inputs and outputs is called."""


def check_model(model: onnx.ModelProto) -> None:
    """Check a model with ONNX's own rules, shapes and types of every tensor included."""
    onnx.checker.check_model(model, full_check=True)


def model_bytes(model: onnx.ModelProto) -> bytes:
    """Content of the file; equal models give equal bytes."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def read_onnx(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """An ONNX file and its content; the weights must lie inside.

    Raises
    ------
    ModelError
        If the file is missing, is no ONNX or is cut off, or keeps weights in other files.
    """
    content = onnx_content(path)
    refuse_other_kinds(content, path)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is cut off after {len(content)} bytes; export or copy it again",
            code=4031,
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path} holds no graph; expected an ONNX file", code=4031)
    outside = [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ModelError(
            f"{path} keeps {len(outside)} weights in other files ({outside[0]} among them), expected one "
            "whole file; save it with its weights inside",
            code=4031,
        )
    return model, content


def onnx_content(path: Path) -> bytes:
    """What a file holds, with the weights that it takes from another one beside it.

    Raises
    ------
    ModelError
        If it is missing or cannot be read, or the other one is.
    """
    try:
        return read_whole(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; expected an ONNX file", code=4030) from error


def manifest_in(model: onnx.ModelProto, path: Path) -> ModelManifest:
    """The manifest in a model's metadata.

    Raises
    ------
    ManifestError
        If there is none, or it is refused.
    """
    texts = [p.value for p in model.metadata_props if p.key == METADATA_KEY]
    if not texts:
        raise ManifestError(
            f"{path} carries no manifest of infnet, so how its slices are prepared is not known; "
            "make the file with infnet-export",
            code=4020,
        )
    return ModelManifest.from_json(texts[0], source=str(path))


def with_manifest(model: onnx.ModelProto, manifest: ModelManifest) -> onnx.ModelProto:
    """The same model with another manifest."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    set_manifest(changed, manifest)
    return changed


def set_manifest(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """Write the manifest into a model, and what ONNX itself has fields for: version and description."""
    others = {p.key: p.value for p in model.metadata_props}
    helper.set_model_props(model, others | {METADATA_KEY: manifest.to_json()})
    model.model_version = _whole_number(manifest.version)
    model.doc_string = (
        f"{manifest.name} {manifest.version}: COVID-19 infection in axial chest CT, probabilities. "
        f"Licence: {manifest.licence}. Research software, not a medical device. How slices are prepared "
        f"stands in the metadata under {METADATA_KEY}."
    )


def with_metadata(content: bytes, key: str, value: str | None) -> bytes:
    """The same file with one entry of its metadata set or taken out; no other byte changes.

    Parameters
    ----------
    content
        Of the file.
    value
        None takes the entry out.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    kept: list[bytes | memoryview] = [
        whole
        for number, field, whole in spans(memoryview(content))
        if not (number == _METADATA and isinstance(field, memoryview) and text(field, _KEY) == key)
    ]
    if value is not None:
        entry = (*message(_KEY, [key.encode()]), *message(_VALUE, [value.encode()]))
        kept += message(_METADATA, entry)
    return b"".join(kept)


def _whole_number(version: str) -> int:
    """The only kind of version that ONNX has.

    Examples
    --------
    >>> _whole_number("1.2.34"), _whole_number("0.2.0"), _whole_number("trial")
    (1002034, 2000, 0)
    """
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) < 1000 for part in parts):
        return 0
    return sum(int(part) * 1000 ** (2 - k) for k, part in enumerate(parts))
