"""Files of weights: checkpoints of a run, trained networks, and the authors' layout.

What a network is made of belongs to ``networks``, when a file is written to ``run``.
"""
