"""Networks by name, what they are made of, and their losses.

A network knows nothing of files, devices or runs; what the rest knows of it is in ``interface``.
"""

from infnet_train.networks.inf_net import ALL_PARTS, InfNet, Part, SideOutputs
from infnet_train.networks.inf_net_classes import ClassOutputs, InfNetClasses
from infnet_train.networks.interface import CLASSES, ClassMaps, InfectionMap, Network, Outputs
from infnet_train.networks.registry import NETWORKS, NetworkConfig, build_network

__all__ = [
    "ALL_PARTS",
    "CLASSES",
    "NETWORKS",
    "ClassMaps",
    "ClassOutputs",
    "InfNet",
    "InfNetClasses",
    "InfectionMap",
    "Network",
    "NetworkConfig",
    "Outputs",
    "Part",
    "SideOutputs",
    "build_network",
]
