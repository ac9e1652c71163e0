"""Whose object it is, and who made it: patient and study of the scan byte for byte, a series of our own.

The text of a patient is never decoded here: what is decoded may come back as other bytes, and stand in the
words of a warning.
"""

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag, Tag

RESEARCH = "Research, not for diagnosis"
MANUFACTURER = "infnet"


def words(text: str) -> tuple[str, ...]:
    """Names of attributes that stand in a text."""
    return tuple(text.split())


# Attributes at the root of DICOM PS3.3 C.7.1.1 Patient, C.7.1.3 Clinical Trial Subject, C.7.2.1 General
# Study, C.7.2.2 Patient Study and C.7.2.3 Clinical Trial Study, with retired ones that are still met.
PATIENT_AND_STUDY = words("""
    ReferencedPatientSequence PatientName PatientID IssuerOfPatientID TypeOfPatientID
    IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence
    GroupOfPatientsIdentificationSequence PatientBirthDate PatientBirthTime
    PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar
    PatientSex QualityControlSubject StrainDescription StrainNomenclature StrainStockSequence
    StrainAdditionalInformation StrainCodeSequence GeneticModificationsSequence OtherPatientIDs
    OtherPatientNames OtherPatientIDsSequence ReferencedPatientPhotoSequence EthnicGroup
    EthnicGroupCodeSequence PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
    PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePerson ResponsiblePersonRole
    ResponsibleOrganization PatientComments PatientIdentityRemoved DeidentificationMethod
    DeidentificationMethodCodeSequence

    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
    IssuerOfClinicalTrialProtocolID OtherClinicalTrialProtocolIDsSequence ClinicalTrialSiteID
    ClinicalTrialSiteName IssuerOfClinicalTrialSiteID ClinicalTrialSubjectID IssuerOfClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID IssuerOfClinicalTrialSubjectReadingID
    ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber

    StudyInstanceUID StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence
    ReferringPhysicianName ReferringPhysicianIdentificationSequence ConsultingPhysicianName
    ConsultingPhysicianIdentificationSequence StudyDescription ProcedureCodeSequence PhysiciansOfRecord
    PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
    PhysiciansReadingStudyIdentificationSequence ReferencedStudySequence StudyID RequestingService
    RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence

    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize
    PatientSizeCodeSequence PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientWeight
    MedicalAlerts Allergies Occupation SmokingStatus AdditionalPatientHistory PregnancyStatus
    LastMenstrualDate PatientSexNeutered ReasonForVisit ReasonForVisitCodeSequence AdmissionID
    IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription IssuerOfServiceEpisodeIDSequence
    PatientState

    ClinicalTrialTimePointID ClinicalTrialTimePointDescription LongitudinalTemporalOffsetFromEvent
    LongitudinalTemporalEventType ClinicalTrialTimePointTypeCodeSequence IssuerOfClinicalTrialTimePointID
    ConsentForClinicalTrialUseSequence
""")

# Present in every object, empty where the scan does not say (type 2).
ALWAYS = words(
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName StudyID"
)

_CHARACTER_SET = Tag(0x0008, 0x0005)
# Values whose bytes lie in the order of the file, and those that are read apart.
_NOT_TEXT = frozenset(words("AT FL FD OB OD OF OL OV OW SL SQ SS SV UL UN US UV"))


def take_identity(made: Dataset, header: Dataset) -> None:
    """Give an object the patient and study of a scan, in the scan's own bytes and character set.

    To be called last: texts that are set later would need the scan's characters.

    Parameters
    ----------
    made
        With texts of ASCII, which every character set of DICOM has; changed.
    header
        Of an image of the scan, as it was read.
    """
    correct_ambiguous_vr(made, True)
    for tag in (_CHARACTER_SET, *map(_tag, PATIENT_AND_STUDY)):
        made.pop(tag, None)
        found = header.get_item(tag)
        if found is not None:
            made[tag] = _as_stored(found, header)
    for keyword in ALWAYS:
        if _tag(keyword) not in made:
            setattr(made, keyword, "")
    # What is raw is then written as it is, see pydicom.filewriter.write_dataset.
    made.set_original_encoding(False, True, made._character_set)


def _tag(keyword: str) -> BaseTag:
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return Tag(number)


def _as_stored(found: DataElement | RawDataElement, header: Dataset) -> DataElement | RawDataElement:
    """An element with its bytes, and a type that is written beside them."""
    vr = dictionary_VR(found.tag)
    if not isinstance(found, RawDataElement) or vr in _NOT_TEXT or found.value is None:
        return header[found.tag]
    value = found.value
    if vr != "UI" and value.endswith(b"\0"):  # padding of some scanners; the standard's is a space
        value = value.rstrip(b"\0")
        value += b" " * (len(value) % 2)
    return found._replace(VR=vr, value=value, length=len(value), is_implicit_VR=False, is_little_endian=True)


def ascii_text(text: str, longest: int = 64) -> str:
    """Text that stands in every character set of DICOM, without its separator, cut where it is too long."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "/")
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."
