"""DICOM: a CT series in, from a folder, an archive or files.

Files are found (``found``), their headers read (``headers``), a series chosen (``series``), its planes
ordered (``order``) and decoded (``pixels``), and made a volume (``scan``). pydicom is loaded when a file is
read. What is written as DICOM is in another room.
"""

from infnet_runtime.io.dicom.scan import DicomScan, DicomSource, read_dicom

__all__ = ["DicomScan", "DicomSource", "read_dicom"]
