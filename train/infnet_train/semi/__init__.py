"""Semi-Inf-Net: labels for slices that nobody labelled (Algorithm 1 of the paper).

A single run belongs to ``run``.
"""
