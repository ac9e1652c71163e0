"""DICOM files that are whole or not there."""

import io
from pathlib import Path

from pydicom.dataset import Dataset

from infnet_runtime.io.atomic import atomic_write


def write_object(path: Path, made: Dataset) -> None:
    """Write an object as a file that gets its name when it is whole.

    Its bytes are made first: pydicom turns what a full disk says into a text with a traceback.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = io.BytesIO()
    made.save_as(content, enforce_file_format=True)
    with atomic_write(path) as file:
        file.write(content.getbuffer())
