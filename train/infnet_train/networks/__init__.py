"""The Inf-Net network: Res2Net-50 backbone, parallel partial decoder, reverse and edge attention."""

from infnet_train.networks.inf_net import ALL_PARTS, InfNet, Part, SideOutputs

__all__ = ["ALL_PARTS", "InfNet", "Part", "SideOutputs"]
