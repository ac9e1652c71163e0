"""The trained network itself, which every exported file is compared with.

It runs as it was trained, before any rewrite, so that a fault in the rewrites, in the export or in the
rounding of the weights all show.
"""

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from infnet_export.network.exporter import Exporter
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import GateError
from infnet_train.networks import Network


def network_probabilities(
    network: Network, exporter: Exporter, slices: FloatArray, precision: torch.dtype = torch.float64
) -> Mapping[str, npt.NDArray[np.floating]]:
    """Probabilities of the network, one slice after the other.

    Parameters
    ----------
    slices : (n, channels, size, size)
    precision
        Of weights and arithmetic.

    Returns
    -------
    Output to its probabilities, (n, channels, size, size)

    Raises
    ------
    GateError
        If one is not finite.
    """
    exact = copy.deepcopy(network).to(precision).eval()
    with torch.no_grad():
        found = [exporter.probabilities(exact, torch.from_numpy(s[None]).to(precision)) for s in slices]
    rows = [one if isinstance(one, tuple) else (one,) for one in found]
    outputs = [np.concatenate([tensor.numpy() for tensor in column]) for column in zip(*rows, strict=True)]
    for probabilities in outputs:
        _refuse_non_finite(probabilities, "the network itself")
    return dict(zip((o.name for o in exporter.outputs), outputs, strict=True))


def _refuse_non_finite(probability: npt.NDArray[np.floating], source: str) -> None:
    bad = int(np.count_nonzero(~np.isfinite(probability)))
    if bad:
        raise GateError(
            f"{bad} of {probability.size} probabilities of {source} are not finite; the weights are damaged "
            "or too large, train again or take an earlier checkpoint",
            code=7002,
        )
