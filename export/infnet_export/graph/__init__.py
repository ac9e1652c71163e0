"""ONNX graphs: files of them, what is in them, and rewrites that hold for any network.

Which precision a graph computes in belongs to ``precision``, where it comes from to ``network``.
"""
