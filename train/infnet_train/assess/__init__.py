"""How good trained weights are, and the temperature that makes their probabilities honest.

Running a network on slices is here too, for ``run`` and ``semi``. Scores themselves belong to
``infnet_runtime.metrics``.
"""
