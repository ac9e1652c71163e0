"""What the export knows of Inf-Net."""

from torch import nn

from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.inference_module import ablated_module, inference_module
from infnet_export.precision.notes import PrecisionNotes
from infnet_train.networks import ALL_PARTS, InfNet, Network


def inf_net_exporter(network: Network) -> Exporter:
    """For the network of the paper, or a row of its ablation."""
    return INF_NET if set(_inf_net(network).parts) == set(ALL_PARTS) else ABLATED


def _inference(network: Network) -> nn.Module:
    return inference_module(_inf_net(network))


def _ablated_inference(network: Network) -> nn.Module:
    return ablated_module(_inf_net(network))


def _inf_net(network: Network) -> InfNet:
    assert isinstance(network, InfNet)
    return network


INF_NET = Exporter(
    inference=_inference,
    # The decoder multiplies feature maps with each other; nothing in the graph bounds the products.
    notes=PrecisionNotes(fp32=("partial_decoder",), divided=("backbone",)),
)

ABLATED = Exporter(inference=_ablated_inference)
"""With fewer parts than all, so that nothing is said of any of them."""
