"""Slices with lung masks, for the network that finds the lungs: from the public sets to varied batches.

How a slice becomes the network's input at run time belongs to ``infnet_runtime.lungs.network``.
"""

from infnet_train.data.lungs.drawing import LungBatch, LungSlices
from infnet_train.data.lungs.stack import LungStack, read_stacks

__all__ = ["LungBatch", "LungSlices", "LungStack", "read_stacks"]
