"""Training of Inf-Net with PyTorch: network, losses, data and the loop.

Export belongs to ``infnet_export``; how a slice becomes network input is decided by ``infnet_runtime``.
"""
