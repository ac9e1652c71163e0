"""What runs the network: one file for each backend, behind the protocol in ``session``."""

from infnet_runtime.backends.open import open_session
from infnet_runtime.backends.session import Session

__all__ = ["Session", "open_session"]
