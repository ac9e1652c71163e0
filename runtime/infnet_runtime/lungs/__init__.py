"""Where the lungs are: two ways to find them in scans that come without a lung mask.

A small network knows chests and finds dense lungs too (``network``, its file: ``contract``). A finder by
threshold and shape needs no file; it is the check of the network (``agreement``), and its stand-in.

The finder works on a reduced grid of about 2 mm (``reduced``): air inside the body (``open_air``), without
the windpipe (``airways``) and without gas in the bowel (``air``), split into right and left (``split``), and
closed over vessels and over dense lesions at the chest wall (``closing``). The labels are then brought back
to the grid of the scan. No learning and no atlas: a lung that is dense as a whole is not found, which is why
results that rest on it alone are called approximate.

Masks that come from elsewhere are read by ``given``, which label is which lung, and by ``lobes``.

What is computed from voxels or labels to say where lung is, belongs here; what a lung mask is, whoever made
it, is ``scan.lung_mask``.
"""

from infnet_runtime.lungs.finder import find_lungs, lung_box, slices_with_lung
from infnet_runtime.lungs.given import given_lungs
from infnet_runtime.lungs.lobes import given_lobes

__all__ = ["find_lungs", "given_lobes", "given_lungs", "lung_box", "slices_with_lung"]
