"""Whose scan it is, in the letters of the file."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

import dicom_world as world
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.io.dicom.patient import Patient, read_patient


def read(folder: Path, series: list[Dataset]) -> Patient:
    world.write(folder, series)
    patient = read_patient(read_dicom(folder))
    assert patient is not None
    return patient


def test_fields_are_those_of_the_scan(tmp_path: Path) -> None:
    patient = read(tmp_path, world.slices())
    expected = Patient("Geheim^Name", "Geheim-ID", "19310507", "F", "20210401", "Geheim-ACC")
    assert patient == expected
    assert patient.line == (
        "Geheim^Name, ID Geheim-ID, born 19310507, sex F, study of 20210401, accession number Geheim-ACC"
    )


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (r"\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 192", "Буки^Иван"),
    ],
)
def test_names_in_the_letters_of_the_file(tmp_path: Path, characters: str, name: str) -> None:
    series = world.slices()
    for one in series:
        one.SpecificCharacterSet, one.PatientName = characters.split("\\"), name
    assert read(tmp_path, series).name == name


def test_what_is_missing_empty_or_damaged(tmp_path: Path) -> None:
    series = world.slices()
    for one in series:
        del one.PatientSex
        one.AccessionNumber = ""
        one.SpecificCharacterSet = "ISO_IR 192"
    world.write(tmp_path, series)
    for file in tmp_path.rglob("*.dcm"):
        file.write_bytes(file.read_bytes().replace(b"Geheim^Name", b"A\xff\n\x1b[2J^NNN"))
    patient = read_patient(read_dicom(tmp_path))
    assert patient is not None
    assert (patient.sex, patient.accession_number) == (None, None)
    assert patient.name == "A\N{REPLACEMENT CHARACTER}" + 2 * "\N{REPLACEMENT CHARACTER}" + "[2J^NNN"
    assert "sex" not in patient.line
