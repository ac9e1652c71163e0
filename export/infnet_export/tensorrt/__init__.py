"""TensorRT engines from ONNX files, by the same code with TensorRT 10.13 to 11 and with TensorRT for RTX.

``engine`` writes an engine and its sidecar and is what the command line calls, ``builder`` talks to
TensorRT, ``api`` imports it and lists the names that all versions share.
"""
