"""How good trained weights are, and the temperature that makes their probabilities honest.

Scores themselves belong to ``infnet_runtime.metrics``.
"""
