"""What runs the network: a file or a folder for each library, behind the protocol in ``session``.

The only folder that imports onnxruntime, openvino, tensorrt, pycuda or cuda. How a slice becomes network
input belongs to ``slices``.
"""

from infnet_runtime.backends.open import open_session
from infnet_runtime.backends.session import Session

__all__ = ["Session", "open_session"]
