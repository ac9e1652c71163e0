"""The manifest of an ONNX file, read without a backend and without onnx."""

from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import METADATA_KEY, ModelManifest
from infnet_runtime.model.protobuf import parts, text
from infnet_runtime.model.signature import damaged, read_manifest

_METADATA, _KEY, _VALUE = 14, 1, 2  # of a model, of an entry; the numbers of onnx.proto


def manifest_of(model: Path) -> ModelManifest:
    """The manifest in a model file.

    Raises
    ------
    ModelError
        If the file is not there, is no ONNX file, or has no manifest or one that is refused.
    """
    try:
        entries = parts(memoryview(model.read_bytes()), _METADATA)
    except OSError as error:
        raise ModelError(f"cannot read {model}: {error.strerror or error}", code=4030) from error
    except ValueError as error:
        raise damaged(model, error) from error
    values = {text(entry, _KEY): text(entry, _VALUE) for entry in entries}
    return read_manifest(values.get(METADATA_KEY), model)
