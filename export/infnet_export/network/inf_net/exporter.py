"""What the export knows of Inf-Net."""

import torch
from torch import Tensor

from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.inference_module import InferenceModule, inference_module
from infnet_export.precision.notes import PrecisionNotes
from infnet_train.networks import ALL_PARTS, InfNet, Network


def _inference(network: Network) -> InferenceModule:
    return inference_module(_inf_net(network))


def _probabilities(network: Network, slices: Tensor) -> Tensor:
    return torch.sigmoid(_inf_net(network)(slices).s3)


def _refusal(network: Network) -> str | None:
    missing = [part for part in ALL_PARTS if part not in _inf_net(network).parts]
    if not missing:
        return None
    return (
        f"an ablated network, without {', '.join(missing)}; only the full network can be exported: "
        "train with all parts"
    )


def _inf_net(network: Network) -> InfNet:
    assert isinstance(network, InfNet)
    return network


INF_NET = Exporter(
    inference=_inference,
    probabilities=_probabilities,
    # The decoder multiplies feature maps with each other; nothing in the graph bounds the products.
    notes=PrecisionNotes(fp32=("partial_decoder",), divided=("backbone",)),
    refusal=_refusal,
)
