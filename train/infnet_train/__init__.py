"""Training of Inf-Net with PyTorch: network, losses, data and the loop."""
