"""ONNX Runtime: on the CPU, the reference that every other backend is compared with, and on CUDA.

The only folder that imports it.
"""
