"""What the export knows of Inf-Net, and of the one with a class head."""

from torch import nn

from infnet_export.network.class_output import INFECTION_AND_CLASSES, probabilities_with_classes
from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.inference_module import (
    ablated_module,
    class_inference_module,
    inference_module,
)
from infnet_export.precision.notes import PrecisionNotes
from infnet_train.networks import ALL_PARTS, InfNet, InfNetClasses, Network

# The decoder multiplies feature maps with each other; nothing in the graph bounds the products.
_NOTES = PrecisionNotes(fp32=("partial_decoder",), divided=("backbone",))


def inf_net_exporter(network: Network) -> Exporter:
    """For the network of the paper, or a row of its ablation."""
    return INF_NET if set(_inf_net(network).parts) == set(ALL_PARTS) else ABLATED


def inf_net_classes_exporter(_network: Network) -> Exporter:
    """For the network with a class head."""
    return INF_NET_CLASSES


def _inference(network: Network) -> nn.Module:
    return inference_module(_inf_net(network))


def _ablated_inference(network: Network) -> nn.Module:
    return ablated_module(_inf_net(network))


def _class_inference(network: Network) -> nn.Module:
    assert isinstance(network, InfNetClasses)
    return class_inference_module(network)


def _inf_net(network: Network) -> InfNet:
    assert isinstance(network, InfNet)
    return network


INF_NET = Exporter(inference=_inference, notes=_NOTES)

INF_NET_CLASSES = Exporter(
    inference=_class_inference,
    probabilities=probabilities_with_classes,
    outputs=INFECTION_AND_CLASSES,
    notes=_NOTES,
)

ABLATED = Exporter(inference=_ablated_inference)
"""With fewer parts than all, so that nothing is said of any of them."""
