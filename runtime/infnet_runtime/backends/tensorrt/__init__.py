"""TensorRT engines: the file beside an engine, the library, and the session that runs one.

Building an engine belongs to ``infnet_export``; memory and streams of the GPU belong to ``cuda``.
"""
