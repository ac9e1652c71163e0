"""How far a form of the network is from the network, and whether that is near enough.

What makes a form belongs to ``precision`` and ``tensorrt``.
"""
