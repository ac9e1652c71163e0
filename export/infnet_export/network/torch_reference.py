"""The trained network itself, which every exported file is compared with.

It runs as it was trained, before any rewrite, so that a fault in the rewrites, in the export or in the
rounding of the weights all show.
"""

import copy

import numpy as np
import numpy.typing as npt
import torch

from infnet_export.proof.parity import refuse_non_finite
from infnet_runtime.arrays import FloatArray
from infnet_train.networks import InfNet


def network_probabilities(
    network: InfNet, slices: FloatArray, precision: torch.dtype = torch.float64
) -> npt.NDArray[np.floating]:
    """Probabilities of the network, one slice after the other.

    Parameters
    ----------
    slices : (n, 3, size, size)
    precision
        Of weights and arithmetic.

    Returns
    -------
    (n, 1, size, size)

    Raises
    ------
    GateError
        If one is not finite.
    """
    exact = copy.deepcopy(network).to(precision).eval()
    with torch.no_grad():
        found = [torch.sigmoid(exact(torch.from_numpy(s[None]).to(precision)).s3).numpy() for s in slices]
    probabilities = np.concatenate(found)
    refuse_non_finite(probabilities, "the network itself")
    return probabilities
