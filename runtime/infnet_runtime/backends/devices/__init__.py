"""Memory, streams and graphs of a GPU: one file for each package that offers them, behind ``device``."""

from infnet_runtime.backends.devices.device import Device

__all__ = ["Device"]
