"""Whose scan it is, read where a user asks for it and nowhere else.

No other part of a result holds a field of the patient; what goes into DICOM objects is copied as bytes.
"""

from dataclasses import dataclass

from infnet_runtime.io.dicom.fields import Fields
from infnet_runtime.io.dicom.library import pydicom
from infnet_runtime.io.dicom.scan import DicomScan

_TAGS = {
    "name": "PatientName",
    "id": "PatientID",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "study_date": "StudyDate",
    "accession_number": "AccessionNumber",
}


@dataclass(frozen=True)
class Patient:
    """Fields of patient and study as the scan has them; None where a field is missing or empty.

    Parameters
    ----------
    name
        As DICOM writes it: ``family^given``, other alphabets behind ``=``.
    birth_date, study_date
        YYYYMMDD.
    """

    name: str | None
    id: str | None
    birth_date: str | None
    sex: str | None
    study_date: str | None
    accession_number: str | None

    @property
    def line(self) -> str:
        """For people."""
        told = {
            "": self.name,
            "ID ": self.id,
            "born ": self.birth_date,
            "sex ": self.sex,
            "study of ": self.study_date,
            "accession number ": self.accession_number,
        }
        return ", ".join(f"{what}{value}" for what, value in told.items() if value)


def read_patient(scan: object) -> Patient | None:
    """Read patient and study from the first file of a scan; None of one that is not from DICOM.

    Letters that do not fit the file's SpecificCharacterSet become the replacement character.

    Raises
    ------
    InputError
        If the file is no longer there.
    """
    if not isinstance(scan, DicomScan):
        return None
    package = pydicom()
    with scan.source.files[0].open() as stream:
        header = package.dcmread(
            stream,
            stop_before_pixels=True,
            force=True,
            specific_tags=["SpecificCharacterSet", *_TAGS.values()],
        )
    fields = Fields(header)
    sets = list(fields.texts("SpecificCharacterSet"))
    encodings = package.charset.convert_encodings(sets or None)
    return Patient(**{key: _decoded(fields.raw(tag), encodings) for key, tag in _TAGS.items()})


def _decoded(raw: bytes, encodings: list[str]) -> str | None:
    """A text in one line."""
    try:
        if len(encodings) == 1:
            text = raw.decode(encodings[0], "replace")
        else:  # changed by escape sequences within the text
            text = pydicom().charset.decode_bytes(raw, encodings, {"^", "="})
    except (UnicodeError, LookupError):
        text = raw.decode("ascii", "replace")
    text = text.strip(" \0")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text) or None
