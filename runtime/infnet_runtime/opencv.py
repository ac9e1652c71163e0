"""OpenCV without what its loader leaves behind; everything in the runtime imports it from here.

The loader writes a folder and an empty entry, which means the current folder, into ``LD_LIBRARY_PATH``. This
process does not read it any more, but every program that a host starts would look for its libraries there.
"""

import os

_PATH = "LD_LIBRARY_PATH"
_before = os.environ.get(_PATH)

import cv2  # noqa: E402 - after the look at what was there

if _before is None:
    os.environ.pop(_PATH, None)
else:
    os.environ[_PATH] = _before

__all__ = ["cv2"]
