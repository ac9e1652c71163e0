"""Patient and study in the scan's own bytes, in every character set and encoding."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from highdicom import _standard_utils as standard
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

import dicom_world
from dicom_results import result_of
from dicom_tools import complaints
from infnet_runtime.report.dicom.identity import PATIENT_AND_STUDY, ascii_text
from infnet_runtime.report.dicom.segmentation import write_segmentation
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.dicom.structured_report import write_structured_report

PHANTOM = dicom_world.small_chest()
NAMES = {
    "GB18030": "Wang^XiaoDong=王^小东",
    "ISO_IR 192": "Müller^Jürgen=山田^太郎",
    "ISO_IR 100": "Müller^Jürgen",
    r"\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    r"\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO_IR 144": "Юлия^Юлиям",
}


def raw(path: Path, keyword: str) -> bytes | None:
    element = dcmread(path).get_item(tag_for_keyword(keyword))
    assert element is None or isinstance(element, RawDataElement)
    return None if element is None else element.value


def objects(
    folder: Path, change: Callable[[Dataset], None], syntax: UID = ExplicitVRLittleEndian
) -> tuple[Path, list[Path]]:
    """A file of a scan, and the objects of its result."""
    images = dicom_world.slices(PHANTOM)
    for image in images:
        change(image)
    files = dicom_world.write(folder / "in", images, syntax=syntax)
    source, result = read_source(files), result_of(PHANTOM)
    made = [folder / "a.seg.dcm", folder / "a.sr.dcm"]
    segmentation = write_segmentation(made[0], result, source)
    write_structured_report(made[1], result, source, segmentation)
    return files[0], made


@pytest.mark.parametrize(
    ("characters", "syntax"),
    [
        *((characters, ExplicitVRLittleEndian) for characters in NAMES),
        ("GB18030", ImplicitVRLittleEndian),
        (r"\ISO 2022 IR 87", ExplicitVRBigEndian),
    ],
)
def test_names_keep_their_bytes(tmp_path: Path, characters: str, syntax: UID) -> None:
    def named(image: Dataset) -> None:
        image.SpecificCharacterSet = characters.split("\\")
        image.PatientName = image.ReferringPhysicianName = NAMES[characters]
        image.StudyDescription = NAMES[characters].split("=")[-1].replace("^", " ")
        image.PregnancyStatus = 4

    scan, made = objects(tmp_path, named, syntax)
    for path in made:
        assert dcmread(path).SpecificCharacterSet == dcmread(scan).SpecificCharacterSet
        for keyword in ("PatientName", "ReferringPhysicianName", "StudyDescription"):
            assert raw(path, keyword) == raw(scan, keyword)
        assert str(dcmread(path).PatientName) == NAMES[characters]
        assert dcmread(path).PregnancyStatus == 4
        assert complaints(path) == []


def test_what_breaks_the_standard_is_passed_on_and_not_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Archives match objects to patients by these bytes, right or wrong."""
    wrong = {
        "PatientBirthDate": b"Geheim-1931 ",
        "PatientSex": b"GeheimX ",
        "PatientID": b"Geheim\\2",
        "PatientName": b"Geheim",
    }

    def changed(image: Dataset) -> None:
        for keyword, value in wrong.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None
            image[tag] = RawDataElement(image[tag].tag, dictionary_VR(tag), len(value), value, 0, False, True)
        image.set_original_encoding(False, True, image._character_set)

    with caplog.at_level(logging.DEBUG):
        _, made = objects(tmp_path, changed)
    for path in made:
        assert {keyword: raw(path, keyword) for keyword in wrong} == wrong
    said = caplog.text + "".join(capfd.readouterr())
    assert dicom_world.PLANTED not in said


def test_padding_is_that_of_the_standard(tmp_path: Path) -> None:
    def padded(image: Dataset) -> None:
        for keyword, value in (("AccessionNumber", b"1\0"), ("StudyID", b"12\0\0"), ("PatientID", b"\0\0")):
            tag = Tag(keyword)
            image[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        image.set_original_encoding(False, True, image._character_set)

    _, made = objects(tmp_path, padded)
    for path in made:
        assert [raw(path, keyword) for keyword in ("AccessionNumber", "StudyID")] == [b"1 ", b"12"]
        assert not raw(path, "PatientID")
        assert not [line for line in complaints(path) if line.startswith("Error")]


def test_what_the_scan_does_not_say_is_empty(tmp_path: Path) -> None:
    def bare(image: Dataset) -> None:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"):
            delattr(image, keyword)
        del image.SpecificCharacterSet, image.PatientAge, image.StudyID

    _, made = objects(tmp_path, bare)
    for path in made:
        assert raw(path, "PatientName") in (b"", None)
        assert "PatientID" in dcmread(path)
        assert "PatientAge" not in dcmread(path)
        assert "SpecificCharacterSet" not in dcmread(path)


def test_sequences_come_along(tmp_path: Path) -> None:
    def more(image: Dataset) -> None:
        item = Dataset()
        item.PatientID, item.TypeOfPatientID = "Zweite-ID-ä", "TEXT"
        image.OtherPatientIDsSequence = [item]

    _, made = objects(tmp_path, more, ImplicitVRLittleEndian)
    for path in made:
        assert dcmread(path).OtherPatientIDsSequence[0].PatientID == "Zweite-ID-ä"


def test_nothing_else_of_the_scan_is_copied(tmp_path: Path) -> None:
    def more(image: Dataset) -> None:
        image.OperatorsName = "Fremd^Operator"
        image.add_new(0x00091010, "LO", "Fremd-privat")
        image.ImageComments = "Fremd"
        image.ProtocolName = "Fremd"

    _, made = objects(tmp_path, more)
    for path in made:
        assert b"Fremd" not in path.read_bytes()


def test_the_attributes_are_those_of_the_standard() -> None:
    iod = standard.get_sop_class_iod_map()[CTImageStorage]
    modules = [m["key"] for m in standard.get_iod_module_map()[iod] if m["ie"] in ("Patient", "Study")]
    named = {
        attribute["keyword"]
        for module in modules
        for attribute in standard.get_module_attribute_map()[module]
        if not attribute["path"]
    }
    assert named - set(PATIENT_AND_STUDY) == set()
    assert set(PATIENT_AND_STUDY) - named == {"OtherPatientIDs", "EthnicGroup"}  # retired


def test_text_for_every_character_set() -> None:
    assert ascii_text("Modell ä\\b") == "Modell ?/b"
    assert ascii_text("x" * 65) == "x" * 61 + "..."
    assert ascii_text("x" * 64) == "x" * 64
