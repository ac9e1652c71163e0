"""From a trained network to a graph: the only folder that needs PyTorch.

What is done to a graph afterwards belongs to ``graph`` and ``precision``.
"""
