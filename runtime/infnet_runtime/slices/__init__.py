"""From slices of a scan to network input, and from the network's output back to the scan's grid.

The one implementation of the contract in ``model.specs``; training calls it too. What runs the network
belongs to ``backends``, the way of a whole volume to ``segment``.
"""
