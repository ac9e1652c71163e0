"""What one call begins with: the content of an ONNX file, and what it is compared with."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from infnet_export.graph.coarse_logits import without_coarse_logits
from infnet_export.graph.onnx_file import model_bytes, onnx_content
from infnet_export.proof.parity_report import Form, Run
from infnet_export.proof.runs import by_onnxruntime
from infnet_runtime.metrics.parity import EXACT, Tolerance
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.recognise import recognised


@dataclass(frozen=True, eq=False)
class Start:
    """The ONNX file to begin with, and what it is compared with.

    Parameters
    ----------
    content
        Of the file.
    allowed
        How far it may be from the reference.
    reference
        What computes the reference, in words.
    exact
        Network input to probabilities of the reference.
    others
        More forms to compare, such as the network in single precision.
    """

    name: str
    content: bytes
    manifest: ModelManifest
    allowed: Tolerance
    reference: str
    exact: Run
    others: tuple[Form, ...] = ()


def start_from_onnx(path: Path, file_name: str) -> Start:
    """Begin with an ONNX file of infnet, which is then its own reference.

    Coarse logits are left out of it: the files to make get their own.

    Parameters
    ----------
    file_name
        Of the files to make, without ending.

    Raises
    ------
    ModelError
        If the file is refused.
    """
    content = onnx_content(path)
    known = recognised(content, path)
    run = by_onnxruntime(content, path.name)
    plain = content
    if known.coarse:
        plain = model_bytes(without_coarse_logits(onnx.load_model_from_string(content)))
    reference = f"{path.name} in FP32 by ONNX Runtime on the CPU"
    return Start(file_name, plain, known.manifest, EXACT, reference, run)
