"""The path of a volume: lungs, batches of slices, network, mask, numbers.

It joins what the other folders do. How files are read and written belongs to ``io``, what a person sees to
``report``.
"""
