"""The Inf-Net network: Res2Net-50 backbone, parallel partial decoder, reverse and edge attention."""

from infnet_train.model.inf_net import InfNet, SideOutputs

__all__ = ["InfNet", "SideOutputs"]
