"""A model file that is there already, given coarse logits: weights and all other nodes stay byte for byte."""

from pathlib import Path

import numpy as np

from infnet_export.graph.coarse_logits import coarse_in, with_coarse_logits
from infnet_export.graph.onnx_file import manifest_in, model_bytes, read_onnx
from infnet_runtime.backends.open import open_content
from infnet_runtime.backends.session import infection_probability
from infnet_runtime.errors import GateError, ModelError
from infnet_runtime.metrics.parity import ENLARGED_TOLERANCE, Parity, compare, network_thresholds
from infnet_runtime.model.recognise import recognised
from infnet_runtime.segment.sampled import phantom_input


def coarse_file(path: Path) -> tuple[bytes, Parity]:
    """The content of a model file with coarse logits, compared with the file by ONNX Runtime.

    Returns
    -------
    The content, and how far the enlarged logits are from the full map on synthetic slices.

    Raises
    ------
    ModelError
        If the file is refused, has coarse logits already, or does not end with their enlargement.
    GateError
        If the full map changes by a bit, or the enlarged logits are too far from it.
    """
    model, content = read_onnx(path)
    recognised(content, path)
    extended = with_coarse_logits(model)
    if extended is model:
        why = "has them already" if coarse_in(model) else "does not end with a linear resize and a sigmoid"
        raise ModelError(f"{path} cannot be given coarse logits: it {why}; it runs as it is", code=4056)
    manifest, changed = manifest_in(model, path), model_bytes(extended)
    slices = phantom_input(manifest.preprocess)
    with open_content(content, path.name) as before, open_content(changed, path.name) as after:
        expected = infection_probability(before, slices)
        found = infection_probability(after, slices)
    if not np.array_equal(found, expected):
        raise GateError(
            f"{path} with coarse logits gives another full map, by {np.abs(found - expected).max():.2g}; "
            "expected the same bits, use the file as it is",
            code=7003,
        )
    with open_content(changed, path.name, coarse=True) as coarse:
        enlarged = infection_probability(coarse, slices)
    threshold = network_thresholds(manifest)[manifest.output.name][manifest.output.infection_channel]
    parity = compare(enlarged[:, None], expected[:, None], [threshold])
    faults = ENLARGED_TOLERANCE.faults(parity)
    if faults:
        raise GateError(
            f"{path} with coarse logits differs from its full map in {', '.join(faults)}; use it as it is",
            code=7003,
        )
    return changed, parity
