"""A report read back by other code: the numbers of the JSON, and nothing said silently less."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset

import dicom_world
from dicom_results import result_of
from dicom_tools import complaints, measured, text_of
from infnet_runtime import OutputError, Segmentation
from infnet_runtime.measure.flags import Flag
from infnet_runtime.report.dicom.segmentation import WrittenSegmentation, write_segmentation
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.dicom.structured_report import write_structured_report
from infnet_runtime.scan.phantom import ChestPhantom, chest_phantom
from infnet_runtime.scan.sides import EITHER, LEFT, RIGHT

PHANTOM = dicom_world.small_chest()
_LABELS = {"both": [RIGHT, LEFT], "right": [RIGHT], "left": [LEFT]}


def written(folder: Path, result: Segmentation, phantom: ChestPhantom = PHANTOM) -> WrittenSegmentation:
    source = read_source(dicom_world.write(folder / "in", dicom_world.slices(phantom)))
    made = write_segmentation(folder / "a.seg.dcm", result, source)
    write_structured_report(folder / "a.sr.dcm", result, source, made)
    return made


def numbers(path: Path) -> dict[str, dict[str, float]]:
    """Label of each group to its numbers, with their units; found in the tree, without a template."""
    found: dict[str, dict[str, float]] = {}

    def walk(item: Dataset, label: str) -> None:
        for child in item.get("ContentSequence", ()):
            name = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
            if name == "Tracking Identifier":
                label = child.TextValue
                assert label not in found
            if child.ValueType == "NUM":
                value = child.MeasuredValueSequence[0]
                unit = value.MeasurementUnitsCodeSequence[0]
                assert unit.CodingSchemeDesignator == "UCUM"
                found.setdefault(label, {})[f"{name} {unit.CodeValue}"] = float(value.NumericValue)
            walk(child, label)

    walk(dcmread(path), "")
    return found


def test_the_numbers_are_those_of_the_json(tmp_path: Path) -> None:
    result = result_of(PHANTOM)
    made = written(tmp_path, result)
    q, found = result.quantification, numbers(tmp_path / "a.sr.dcm")
    assert q.both
    assert q.right
    assert q.left
    for region, label in (("both", "Lungs"), ("right", "Right lung"), ("left", "Left lung")):
        mean = PHANTOM.hu[np.isin(PHANTOM.lungs, _LABELS[region])].mean()
        assert found[label] == {
            "Volume ml": pytest.approx(getattr(q, region).lung_ml, abs=1e-6),
            "Attenuation Coefficient [hnsf'U]": pytest.approx(mean, abs=1e-6),
        }
    for region, label in (("right", "Infection of the right lung"), ("left", "Infection of the left lung")):
        burden = getattr(q, region)
        assert found[label] == {
            "Volume ml": pytest.approx(burden.infection_ml, abs=1e-6),
            "Volume as percent of the lung %": pytest.approx(burden.infection_percent, abs=1e-6),
        } | (
            {"Attenuation Coefficient [hnsf'U]": pytest.approx(burden.infection_mean_hu, abs=1e-6)}
            if burden.infection_ml
            else {}
        )
    mean = PHANTOM.hu[PHANTOM.infection].mean()
    assert found["Infection"] == {
        "Volume ml": pytest.approx(q.both.infection_ml, abs=1e-6),
        "Volume as percent of the lung %": pytest.approx(q.both.infection_percent, abs=1e-6),
        "Attenuation Coefficient [hnsf'U]": pytest.approx(mean, abs=1e-6),
    }
    rest_ml = q.right.lung_ml - q.right.infection_ml
    assert found["Right lung without infection"]["Volume ml"] == pytest.approx(rest_ml, abs=1e-6)
    assert len(found) == 5 + len(made.segments)
    assert complaints(tmp_path / "a.sr.dcm") == []


def test_other_readers_know_the_groups(tmp_path: Path) -> None:
    made = written(tmp_path, result_of(PHANTOM))
    by_segment = {
        group.get("ReferencedSegment"): group for group in measured(tmp_path / "a.sr.dcm", tmp_path)
    }
    for segment in made.segments:
        group = by_segment[segment.number]
        assert group["TrackingUniqueIdentifier"] == segment.tracking_uid
        assert group["segmentationSOPInstanceUID"] == made.instance_uid
        volumes = [item for item in group["measurementItems"] if item["quantity"]["CodeMeaning"] == "Volume"]
        assert [float(item["value"]) for item in volumes] == [pytest.approx(segment.ml, abs=1e-6)]

    report = srread(tmp_path / "a.sr.dcm").content
    groups = report.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [segment.tracking_uid for segment in made.segments]
    assert {str(group.referenced_segment.source_series_for_segmentation.value) for group in groups} == {
        dicom_world.slices(PHANTOM)[0].SeriesInstanceUID
    }

    text = text_of(tmp_path / "a.sr.dcm")
    assert "Comprehensive 3D SR Document" in text
    assert '"Algorithm Name")="infnet"' in text
    assert "Research, not for diagnosis" in text


def test_the_report_refers_to_all_it_rests_on(tmp_path: Path) -> None:
    made = written(tmp_path, result_of(PHANTOM))
    report, source = dcmread(tmp_path / "a.sr.dcm"), dicom_world.slices(PHANTOM)
    evidence = report.CurrentRequestedProcedureEvidenceSequence
    assert [item.StudyInstanceUID for item in evidence] == [source[0].StudyInstanceUID]
    named = {
        one.ReferencedSOPInstanceUID
        for series in evidence[0].ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert named == {one.SOPInstanceUID for one in source} | {made.instance_uid}
    assert report.StudyInstanceUID == source[0].StudyInstanceUID
    assert report.SeriesInstanceUID not in (source[0].SeriesInstanceUID, made.series_uid)
    assert report.SeriesDescription == "infnet measurements. Research, not for diagnosis"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_without_infection_the_report_says_0_ml(tmp_path: Path) -> None:
    healthy = chest_phantom(PHANTOM.hu.shape, PHANTOM.spacing_mm, infected=False)
    written(tmp_path, result_of(healthy), healthy)
    found = numbers(tmp_path / "a.sr.dcm")
    assert found["Infection"] == {"Volume ml": 0.0, "Volume as percent of the lung %": 0.0}
    assert complaints(tmp_path / "a.sr.dcm") == []


def test_classes_have_their_own_groups_beside_the_whole(tmp_path: Path) -> None:
    result = result_of(PHANTOM, classes=True)
    written(tmp_path, result)
    found, q = numbers(tmp_path / "a.sr.dcm"), result.quantification
    assert q.classes
    assert q.classes.both
    assert q.both
    assert found["Ground glass"]["Volume ml"] == pytest.approx(q.classes.both.ggo_ml, abs=1e-6)
    assert found["Consolidation"]["Volume ml"] == pytest.approx(q.classes.both.consolidation_ml, abs=1e-6)
    assert found["Infection"]["Volume ml"] == pytest.approx(q.both.infection_ml, abs=1e-6)


def test_flags_and_missing_numbers_are_said(tmp_path: Path) -> None:
    flags = (
        Flag("a_note", "this is a note", warns=False),
        Flag("lung_missing", "one lung is missing; what is given is a lower bound µ", warns=True),
    )
    lungs = np.where(PHANTOM.lungs == RIGHT, EITHER, 0).astype(np.uint8)
    written(tmp_path, result_of(PHANTOM, lungs=lungs, flags=flags))
    text = text_of(tmp_path / "a.sr.dcm")
    for said in (
        "Warning: one lung is missing; what is given is a lower bound ?.",
        "Note: this is a note.",
        "Not given: left, side_unknown.",
    ):
        assert said in text
    assert "lobe" not in text
    assert text.index("Warning: ") < text.index("Note: ")
    assert "Left lung" not in numbers(tmp_path / "a.sr.dcm")


def test_what_highdicom_refuses_has_a_number(tmp_path: Path) -> None:
    result = result_of(PHANTOM)
    made = written(tmp_path, result)
    source = read_source(sorted((tmp_path / "in").iterdir()))
    of_no_class = replace(made, class_uid="1.2.3")
    with pytest.raises(OutputError, match="cannot make the DICOM report") as error:
        write_structured_report(tmp_path / "b.dcm", result, source, of_no_class)
    assert error.value.code == 8056
    assert not (tmp_path / "b.dcm").exists()


def test_the_check_of_objects_can_fail(tmp_path: Path) -> None:
    written(tmp_path, result_of(PHANTOM))
    report = dcmread(tmp_path / "a.sr.dcm")
    del report.ValueType
    report.save_as(tmp_path / "broken.dcm")
    assert complaints(tmp_path / "broken.dcm")
