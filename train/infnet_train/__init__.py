"""Training with PyTorch: from pictures and a recipe to weights, and how good those are.

A recipe (``recipe``, ``config``) is one training after the other (``run``, ``semi``) of a network
(``networks``, ``weights``) on slices (``data``), judged by ``assess``. Nothing here is needed to use a model:
that is ``infnet_runtime``; files for it are made by ``infnet_export``.
"""
