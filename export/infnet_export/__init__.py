"""Export of trained weights to one ONNX file that runs without PyTorch, and what is made from it.

``network`` turns a trained network into a graph, ``precision`` makes smaller forms of it, ``proof`` compares
all of them with the network, ``tensorrt`` and ``triton`` serve it, and ``make`` does this in one call.
"""
