"""Export of trained weights to one ONNX file that runs without PyTorch.

``trained`` reads a checkpoint, ``inference_module`` rewrites the network for inference, ``onnx_graph`` turns
it into ONNX, ``half_weights`` halves the file, ``parity`` compares the result with the network in double
precision, and ``model_file`` does all of it in this order.
"""
