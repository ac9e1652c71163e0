"""A result as DICOM objects of the scan's own study: a segmentation (SEG) and a structured report (SR).

What a file says in DICOM's words belongs here, and what is copied from the scan byte for byte; reading scans
does not, that is ``io/dicom``. Only the files of this room import highdicom.
"""

from importlib.util import find_spec

from infnet_runtime.errors import OutputError

if find_spec("highdicom") is None:
    raise OutputError(
        "DICOM objects are written with highdicom, which is not installed; pip install 'infnet[dicom]'",
        code=8050,
    )
