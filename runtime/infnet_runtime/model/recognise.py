"""What a file that was given as a model is, told from its bytes before a backend sees it.

A backend answers to a file of another kind with an error of its own, or takes it and fails at the first scan.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.asked import Asked, asked_of
from infnet_runtime.model.coarse_logits import (
    COARSE_KEY,
    CoarseSpec,
    OutputShapes,
    outputs_given,
    outputs_promised,
)
from infnet_runtime.model.facts import OnnxFacts, read_facts
from infnet_runtime.model.manifest import ENTRY_KEY, METADATA_KEY, ManifestError, ModelManifest
from infnet_runtime.model.only_outputs import with_only_outputs
from infnet_runtime.model.signature import check_signature, read_manifest

# What ONNX Runtime 1.32 and OpenVINO 2026.4 know. OpenVINO takes newer operators for those that it knows.
OPSETS = (7, 28)
NEWEST_IR = 14
_LUNG_KEY = "infnet.lungs"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "weights"),  # a checkpoint of PyTorch is a zip file
    (b"\x80\x02", "weights"),  # and before that a pickle
    (b"ftrt", "engine"),
    (b"ptrt", "engine"),
    (b"version https://git-lfs", "pointer"),
    (b"<", "text"),
    (b"{", "text"),
    (b"\x1f\x8b", "packed"),
)
_KINDS: dict[str, Callable[[Path], ModelError]] = {
    "weights": lambda path: ModelError(
        f"{path} holds training weights, expected an ONNX model; make one with: infnet-export {path} -o "
        "model.onnx",
        code=4034,
    ),
    "engine": lambda path: ModelError(
        f"{path} is a TensorRT engine under another name; call it {path.stem}.plan, beside its sidecar "
        f"{path.stem}.plan.json, or give the ONNX model",
        code=4052,
    ),
    "pointer": lambda path: ModelError(
        f"{path} is a pointer of Git LFS, not the model itself; fetch it with: git lfs pull", code=4053
    ),
    "text": lambda path: ModelError(
        f"{path} is a text or web page, expected an ONNX model; download or copy it again", code=4053
    ),
    "packed": lambda path: ModelError(
        f"{path} is packed with gzip, expected an ONNX model; unpack it first", code=4053
    ),
}


@dataclass(frozen=True)
class Recognised:
    """What a model file says of itself.

    Parameters
    ----------
    coarse
        Its coarse logits, where it has some.
    promised
        The outputs of the file.
    """

    manifest: ModelManifest
    coarse: CoarseSpec | None
    promised: OutputShapes

    def only(self, asked: Asked, path: Path) -> "Recognised":
        """The same file, of which no more is said and taken than what is asked for.

        Raises
        ------
        ModelError
            If the file does not have it.
        """
        return replace(self, manifest=asked_of(self.manifest, asked, str(path)))

    def cut(self, content: bytes, coarse: CoarseSpec | None) -> bytes:
        """What a backend is given, so that it computes nothing that is not wanted.

        Parameters
        ----------
        content
            Of the file.
        coarse
            Its coarse logits, where they are wanted in the place of the probabilities they lead to.
        """
        return self.cut_to(content, outputs_given(self.manifest, coarse))

    def cut_to(self, content: bytes, given: OutputShapes) -> bytes:
        """The same for outputs that are named."""
        return content if set(given) == set(self.promised) else with_only_outputs(content, given)


def recognised(content: bytes, path: Path) -> Recognised:
    """What a model says of itself, which keeps what it promises as far as its bytes tell.

    Parameters
    ----------
    content
        Of the file.
    path
        Where it is, for messages, and for what lies beside it.

    Raises
    ------
    ModelError
        If it is anything else, saying what.
    """
    refuse_other_kinds(content, path)
    facts = _facts(content, path)
    if facts.other_files:
        raise _kept_elsewhere(facts.other_files, path)
    if ENTRY_KEY in facts.metadata:
        raise _takes_hu(path)
    if _LUNG_KEY in facts.metadata:
        raise ManifestError(
            f"{path} is the network that finds the lungs, expected one that marks infection; give a model of "
            "infnet-export, not of 'infnet-export lungs'",
            code=4020,
        )
    manifest = read_manifest(facts.metadata.get(METADATA_KEY), path)
    if not OPSETS[0] <= facts.opset <= OPSETS[1] or facts.ir_version > NEWEST_IR:
        raise _unknown_version(facts, path)
    coarse = None
    if COARSE_KEY in facts.metadata:
        coarse = CoarseSpec.from_json(facts.metadata[COARSE_KEY], source=str(path))
        coarse.check(manifest)
    promised = outputs_promised(manifest, coarse)
    check_signature(facts.inputs, facts.outputs, manifest, path, promised=promised)
    return Recognised(manifest, coarse, promised)


def refuse_other_kinds(content: bytes, path: Path) -> None:
    """Refuse what is no ONNX file by its first bytes, saying what it is.

    Raises
    ------
    ModelError
        With the way out.
    """
    if not content:
        raise ModelError(f"{path} is empty (0 bytes); copy or export it again", code=4031)
    kind = _kind(content)
    if kind:
        raise _KINDS[kind](path)


def holds_weights(content: bytes) -> bool:
    """Whether a file is a checkpoint of a training by its first bytes."""
    return _kind(content) == "weights"


def _kind(content: bytes) -> str | None:
    # A file of safetensors begins with the length of its header in 8 bytes, then the header in JSON.
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content):
        return "weights"
    start = content[:64].lstrip(b"\xef\xbb\xbf \r\n")
    return next((kind for beginning, kind in _BEGINNINGS if start.startswith(beginning)), None)


def _facts(content: bytes, path: Path) -> OnnxFacts:
    try:
        facts = read_facts(content)
    except ValueError as error:
        if content[:1] == b"\x08":  # the version of the format, with which every ONNX file begins
            raise ModelError(
                f"{path} is cut off after {len(content)} bytes ({error}); copy or export it again", code=4051
            ) from error
        raise ModelError(
            f"{path} is no ONNX model ({error}); give a file of infnet-export", code=4031
        ) from error
    if not facts.nodes or not facts.opset:
        raise ModelError(
            f"{path} is cut off, or no ONNX model: it has {facts.nodes} operators and "
            f"{'no' if not facts.opset else 'a'} version of them; copy or export it again",
            code=4051,
        )
    return facts


def _kept_elsewhere(names: tuple[str, ...], path: Path) -> ModelError:
    absent = [name for name in names if not (path.parent / name).is_file()]
    state = f"{absent[0]} is not there" if absent else f"{', '.join(names[:3])} beside it"
    return ModelError(
        f"{path} keeps weights in other files ({state}), expected one whole file; export it again with "
        "infnet-export, or save it with its weights inside",
        code=4050,
    )


def _takes_hu(path: Path) -> ModelError:
    plain = path.with_name(path.name.replace(".hu.", "."))
    take = (
        f"give {plain}"
        if plain != path and plain.is_file()
        else "give the file without .hu of the same export"
    )
    return ModelError(
        f"{path} takes slices in HU and prepares them itself, for programs without Python "
        f"(docs/hu-graph.md); infnet prepares slices on its own: {take}",
        code=4048,
    )


def _unknown_version(facts: OnnxFacts, path: Path) -> ModelError:
    return ModelError(
        f"{path} has opset {facts.opset} and IR version {facts.ir_version}, this version of infnet knows "
        f"opset {OPSETS[0]} to {OPSETS[1]} and IR version up to {NEWEST_IR}; export it again with "
        "infnet-export",
        code=4049,
    )
