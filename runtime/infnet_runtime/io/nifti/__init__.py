"""NIfTI-1: a CT volume in, a mask in the same place out.

The header (``fields``, ``affine``, ``header``) is checked before a voxel is read. No other format belongs
here.
"""

from infnet_runtime.io.nifti.scan import NiftiScan, read_nifti
from infnet_runtime.io.nifti.voxels import read_labels, read_stored
from infnet_runtime.io.nifti.write import write_nifti

__all__ = ["NiftiScan", "read_labels", "read_nifti", "read_stored", "write_nifti"]
