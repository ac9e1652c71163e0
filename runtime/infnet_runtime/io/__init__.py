"""Files in, masks out. Everything behind it works with the ``Scan`` that ``open_scan`` returns.

Readers, writers and what keeps outputs whole belong here; what a scan or a mask means does not.
"""

from infnet_runtime.io.atomic import prepare_folder
from infnet_runtime.io.formats import stem
from infnet_runtime.io.lung_masks import read_lungs
from infnet_runtime.io.scans import DEFAULT_MAX_BYTES, Scan, open_scan

__all__ = ["DEFAULT_MAX_BYTES", "Scan", "open_scan", "prepare_folder", "read_lungs", "stem"]
