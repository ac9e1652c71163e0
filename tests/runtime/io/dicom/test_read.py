"""Series of the phantom with every fault: read to the voxel, or refused by name."""

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.uid import UID

import dicom_world as world
from dicom_world import uid
from infnet_runtime.errors import InfnetError
from infnet_runtime.io import Scan, open_scan
from infnet_runtime.io.dicom import read_dicom
from infnet_runtime.io.dicom.found import find_files
from infnet_runtime.scan.grid import Grid


def is_right(scan: Scan) -> bool:
    voxels = np.asarray(scan.volume.voxels)
    same = np.array_equal(voxels.transpose(2, 1, 0), world.small_chest().hu)
    return same and np.array_equal(scan.volume.affine, world.affine())


def refusal(path: Path, **options: object) -> InfnetError:
    with pytest.raises(InfnetError) as caught:
        read_dicom(path, **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    assert world.PLANTED not in str(caught.value)
    return caught.value


SYNTAXES = (
    uids.ExplicitVRLittleEndian,
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
    uids.RLELossless,
)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: str(one.name))
def test_a_series_is_read_to_the_voxel_in_each_transfer_syntax(tmp_path: Path, syntax: UID) -> None:
    world.write(tmp_path, world.slices(), syntax=syntax)
    scan = read_dicom(tmp_path)
    assert is_right(scan)
    assert scan.volume.voxels.dtype == np.int16
    assert scan.volume.id.series_uid == world.slices()[0].SeriesInstanceUID
    assert scan.source.instance_uids == tuple(one.SOPInstanceUID for one in world.slices())
    assert [one.SOPInstanceUID for one in scan.source.datasets()] == list(scan.source.instance_uids)


def changed(which: slice, **tags: object) -> Callable[[list[Dataset]], list[Dataset]]:
    """Set or, with None, delete tags of some slices."""

    def change(single: list[Dataset]) -> list[Dataset]:
        for one in single[which]:
            for name, value in tags.items():
                if value is None:
                    delattr(one, name)
                else:
                    setattr(one, name, value)
        return single

    return change


def other_intercepts(single: list[Dataset]) -> list[Dataset]:
    for k, one in enumerate(single[::2]):
        stored = np.frombuffer(one.PixelData, "<i2") + 500 + k
        one.PixelData, one.RescaleIntercept = stored.astype("<i2").tobytes(), str(-1524 - k)
    return single


def other_slope(single: list[Dataset]) -> list[Dataset]:
    stored = np.frombuffer(single[0].PixelData, "<i2")
    single[0].PixelData = (stored.astype(int) * 2 - 1024).astype("<i2").tobytes()
    single[0].RescaleSlope, single[0].RescaleIntercept = "0.5", "-512"
    return single


def twelve_bits(single: list[Dataset]) -> list[Dataset]:
    """Signed, with 0 where the sign would go on."""
    for one in single:
        hu = np.frombuffer(one.PixelData, "<i2") - 1024
        one.PixelData, one.RescaleIntercept = (hu & 0x0FFF).astype("<u2").tobytes(), "0"
        one.BitsStored, one.HighBit = 12, 11
    return single


def thirty_two_bits(single: list[Dataset]) -> list[Dataset]:
    for one in single:
        one.PixelData = np.frombuffer(one.PixelData, "<i2").astype("<i4").tobytes()
        one.BitsAllocated, one.BitsStored, one.HighBit = 32, 32, 31
    return single


def twice(single: list[Dataset]) -> list[Dataset]:
    return [*single, *single[1:3]]


def beside(single: list[Dataset]) -> list[Dataset]:
    others = [
        world.localizer(single),
        world.localizer(single, same_series=True),
        world.other_object(single, uids.XRayRadiationDoseSRStorage, "SR"),
        world.other_object(single, uids.RTStructureSetStorage, "RTSTRUCT"),
    ]
    return [*others, *single]


RIGHT: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "in any order": lambda single: single[3:] + single[2::-1],
    "one object": lambda single: [world.enhanced(single)],
    "one object, frames in any order": lambda single: [world.enhanced(single[::-1])],
    "dates in the future": changed(slice(None), StudyDate="29990101", AcquisitionTime="996199"),
    "no modality": changed(slice(None), Modality=None),
    "display inverted": changed(slice(None), PhotometricInterpretation="MONOCHROME1"),
    "thickness and location wrong": changed(slice(None), SliceThickness="1", SliceLocation="0"),
    "no thickness": changed(slice(None), SliceThickness=""),
    "instance numbers wrong": changed(slice(None), InstanceNumber=7),
    "positions rounded": changed(slice(2, 3), ImagePositionPatient=[*world.ORIGIN_MM[:2], -220.06]),
    "intercepts differ": other_intercepts,
    "slopes differ": other_slope,
    "signed 12 bits": twelve_bits,
    "32 bits": thirty_two_bits,
    "files twice": twice,
    "no UID of a series": changed(slice(None), SeriesInstanceUID=None, StudyInstanceUID=""),
    "UIDs of slices in the file's head alone": changed(slice(None), SOPInstanceUID=None, SOPClassUID=None),
    "other objects beside": beside,
    "an acquisition for each turn": lambda single: one_by_one(single),
    "cosines rounded": changed(slice(None), ImageOrientationPatient=["0.9996", "0", "0", "0", "1.0004", "0"]),
    "letters that are none": changed(slice(None), SeriesDescription=b"\xff\xfe\x00".decode("latin-1")),
}


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, as these files are written
def test_what_can_be_read_is_read_to_the_voxel(tmp_path: Path, case: str) -> None:
    world.write(tmp_path, RIGHT[case](world.slices()))
    assert is_right(read_dicom(tmp_path))


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)], ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_however_the_patient_lies_and_planes_are_stored(
    tmp_path: Path, signs: tuple[int, int], turned: bool
) -> None:
    phantom, single = world.small_chest(), world.slices()
    _, row_mm, column_mm = phantom.spacing_mm
    right, down = signs
    for k, one in enumerate(single):
        plane = np.frombuffer(one.PixelData, "<i2").reshape(phantom.hu[k].shape)[::down, ::right]
        x = world.ORIGIN_MM[0] + (0 if right > 0 else (plane.shape[1] - 1) * column_mm)
        y = world.ORIGIN_MM[1] + (0 if down > 0 else (plane.shape[0] - 1) * row_mm)
        one.ImagePositionPatient = [x, y, one.ImagePositionPatient[2]]
        along, across = [right, 0, 0], [0, down, 0]
        if turned:
            plane, along, across = plane.T, across, along
            one.Rows, one.Columns, one.PixelSpacing = *plane.shape, [column_mm, row_mm]
        one.ImageOrientationPatient, one.PixelData = along + across, plane.tobytes()
    world.write(tmp_path, single)
    volume = read_dicom(tmp_path).volume
    assert np.array_equal(volume.to_lps(), phantom.hu)
    assert volume.grid.is_same_place(Grid(world.small_chest().hu.shape[::-1], world.affine()))


def test_a_description_is_shown_in_its_own_letters(tmp_path: Path) -> None:
    other = world.slices(series="Lung")
    for one in (both := [*world.slices(), *other]):
        one.SpecificCharacterSet = "GB18030"
    for one in other:
        one.SeriesDescription = "胸部\x07"
    world.write(tmp_path, both)
    assert "胸部?" in str(refusal(tmp_path))


def without(k: int) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda single: single[:k] + single[k + 1 :]


def same_place(single: list[Dataset]) -> list[Dataset]:
    copied = copy.deepcopy(single[2])
    copied.SOPInstanceUID = uid("twin")
    return [*single, copied]


def same_uid(single: list[Dataset]) -> list[Dataset]:
    copied = copy.deepcopy(single[2])
    copied.PixelData = single[3].PixelData
    return [*single, copied]


def two_stacks(single: list[Dataset]) -> list[Dataset]:
    one = world.enhanced(single)
    for group in one.PerFrameFunctionalGroupsSequence[3:]:
        group.FrameContentSequence[0].StackID = "2"
    return [one]


def tilted(single: list[Dataset]) -> list[Dataset]:
    for k, one in enumerate(single):
        one.ImagePositionPatient[1] += 8.0 * k
    return single


def shifted(single: list[Dataset]) -> list[Dataset]:
    single[3].ImagePositionPatient[0] += 20.0
    return single


def uneven(single: list[Dataset]) -> list[Dataset]:
    for k, one in enumerate(single):
        one.ImagePositionPatient[2] += 0.7 * k * k
    return single


def beyond_bits(single: list[Dataset]) -> list[Dataset]:
    changed(slice(None), BitsStored=12, HighBit=11, PixelRepresentation=0)(single)
    single[1].PixelData = b"\x00\x50" + single[1].PixelData[2:]
    return single


def float_pixels(single: list[Dataset]) -> list[Dataset]:
    one = single[0]
    one.add_new("FloatPixelData", "OF", np.zeros(24 * 32, "<f4").tobytes())
    del one.PixelData
    return single


def eight_bits(single: list[Dataset]) -> list[Dataset]:
    return changed(slice(None), BitsAllocated=8, BitsStored=8, HighBit=7)(single)


def alternating(single: list[Dataset]) -> list[Dataset]:
    for k, one in enumerate(single):
        one.AcquisitionNumber = k % 2 + 1
    return single


def one_by_one(single: list[Dataset]) -> list[Dataset]:
    for k, one in enumerate(single):
        one.AcquisitionNumber = k // 2 + 1
    return single


def damaged_groups(single: list[Dataset]) -> list[Dataset]:
    one = world.enhanced(single)
    one.NumberOfFrames = 7
    return [one]


Z = slice(1, 2)
REFUSED: dict[str, tuple[Callable[[list[Dataset]], list[Dataset]], int, str]] = {
    "a slice missing": (
        without(2),
        3260,
        "IM0002.dcm and IM0003.dcm are 80.00 mm apart.*gap, 1 slice is missing",
    ),
    "uneven": (uneven, 3260, "not the same distance apart.*spacing is not uniform"),
    "position missing": (
        changed(Z, ImagePositionPatient=None),
        3256,
        r"IM0002.dcm has no ImagePositionPatient \(0020,0032\)",
    ),
    "orientation missing": (changed(Z, ImageOrientationPatient=None), 3256, "no ImageOrientationPatient"),
    "spacing missing": (changed(Z, PixelSpacing=None), 3256, "no PixelSpacing"),
    "position of two numbers": (
        changed(Z, ImagePositionPatient=["1", "2"]),
        3257,
        r"IM0002.dcm.*1\\2, expected 3",
    ),
    "position NaN": (changed(Z, ImagePositionPatient=["0", "nan", "0"]), 3257, r"0\\nan\\0"),
    "position in space": (changed(Z, ImagePositionPatient=["0", "0", "1e30"]), 3257, "1e.30"),
    "orientation skew": (
        changed(slice(None), ImageOrientationPatient=["1", "0", "0", "0.5", "0.87", "0"]),
        3257,
        "right angles",
    ),
    "orientation zero": (changed(slice(None), ImageOrientationPatient=["0"] * 6), 3257, "length 1"),
    "spacing negative": (
        changed(slice(None), PixelSpacing=["-1", "1"]),
        3257,
        r"-1\\1, expected 0.01 to 100 mm",
    ),
    "spacing zero": (changed(slice(None), PixelSpacing=["1", "0"]), 3257, "expected 0.01"),
    "spacing differs": (
        changed(Z, PixelSpacing=["2", "2"]),
        3258,
        r"PixelSpacing: 13.5\\12 in 5.*2\\2 in IM0002",
    ),
    "size differs": (
        changed(Z, Rows=12),
        3258,
        "Rows x Columns: 24 x 32 in 5 of them, 12 x 32 in IM0002.dcm",
    ),
    "turned": (
        changed(Z, ImageOrientationPatient=["0", "1", "0", "-1", "0", "0"]),
        3258,
        "ImageOrientationPatient: .* in IM0002.dcm",
    ),
    "signs differ": (changed(Z, PixelRepresentation=0), 3258, "PixelRepresentation .int16 and uint16"),
    "tilted": (tilted, 3259, "gantry was tilted by 11.3 degrees"),
    "beside the others": (shifted, 3273, "IM0004.dcm lies 20.00 mm beside"),
    "two at one place": (
        same_place,
        3261,
        "IM0003.dcm and IM0007.dcm are different slices at the same position",
    ),
    "one UID, two contents": (same_uid, 3262, "IM0003.dcm and IM0007.dcm have the same SOPInstanceUID"),
    "no rescale": (
        changed(Z, RescaleSlope=None, RescaleIntercept=None),
        3263,
        "IM0002.dcm has no RescaleSlope",
    ),
    "slope 0": (changed(Z, RescaleSlope="0"), 3264, "RescaleSlope 0 "),
    "slope negative": (changed(Z, RescaleSlope="-1"), 3264, "slope above 0"),
    "intercept no number": (changed(Z, RescaleIntercept="nan"), 3264, "RescaleIntercept nan"),
    "not in HU": (changed(Z, RescaleType="MGML"), 3264, "RescaleType MGML"),
    "bits": (changed(slice(None), BitsAllocated=12), 3265, "BitsAllocated 12"),
    "more bits stored than there": (changed(slice(None), BitsStored=20), 3265, "BitsStored 20"),
    "high bit": (changed(slice(None), HighBit=14), 3265, "HighBit 14 with BitsStored 16"),
    "palette": (changed(Z, PhotometricInterpretation="PALETTE COLOR"), 3265, "PALETTE COLOR"),
    "numbers beyond the bits": (beyond_bits, 3265, "has numbers that do not fit into its BitsStored 12"),
    "more pixels than rows": (changed(slice(None), Rows=20), 3266, "1536 bytes of pixels, expected 1280"),
    "single": (lambda single: single[:1], 3269, "single slice"),
    "kernels under one UID": (changed(Z, ConvolutionKernel="B70f"), 3270, "ConvolutionKernel: 'B31f' in 5"),
    "frames of reference": (changed(Z, FrameOfReferenceUID="1.2.3"), 3270, "FrameOfReferenceUID"),
    "acquisitions that alternate": (alternating, 3270, "2 acquisitions alternate in one series .*1, 2"),
    "8 bits in pairs": (eight_bits, 3265, "8 bits in big endian"),
    "two stacks": (two_stacks, 3270, "StackID: '1' in 3"),
    "frames not counted": (damaged_groups, 3253, "NumberOfFrames 7, and 6 groups"),
    "pixels of floating point": (float_pixels, 3253, "IM0001.dcm .pixels of floating point"),
    "no pixels": (changed(Z, PixelData=None), 3253, "IM0002.dcm .no pixels"),
    "a series of its own without a UID": (
        changed(Z, SeriesInstanceUID=""),
        3252,
        "series without a UID: 'Thorax'",
    ),
    "all of another modality": (changed(slice(None), Modality="PT"), 3251, "6 x CT Image with Modality PT"),
    "colour": (changed(slice(None), SamplesPerPixel=3), 3251, "6 x picture in colour"),
    "projections": (
        changed(slice(None), ImageType=["DERIVED", "SECONDARY", "AXIAL", "CSA MIP"]),
        3251,
        "6 x projection of a volume",
    ),
    "another class": (changed(slice(None), SOPClassUID=uids.MRImageStorage), 3251, "MR Image Storage"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, as these files are written
def test_what_cannot_be_trusted_is_refused_by_name(tmp_path: Path, case: str) -> None:
    change, code, words = REFUSED[case]
    syntax = uids.ExplicitVRBigEndian if case == "8 bits in pairs" else uids.ExplicitVRLittleEndian
    world.write(tmp_path, change(world.slices()), syntax=syntax)
    error = refusal(tmp_path)
    assert error.code == code, error
    with pytest.raises(InfnetError, match=words):
        raise error


def test_a_series_is_ambiguous_until_it_is_named(tmp_path: Path) -> None:
    soft, sharp = world.slices(), world.slices(series="Lunge", kernel="B70f")[:4]
    world.write(tmp_path / "a", soft)
    world.write(tmp_path / "b", sharp)
    error = refusal(tmp_path)
    assert error.code == 3252
    for word in (
        "2 series",
        "B31f",
        "B70f",
        "'Lunge'",
        "4 slices",
        soft[0].SeriesInstanceUID,
        "--series UID",
    ):
        assert word in str(error)
    assert is_right(read_dicom(tmp_path, series=soft[0].SeriesInstanceUID))
    other = refusal(tmp_path, series="1.2.3")
    assert other.code == 3254
    assert sharp[0].SeriesInstanceUID in str(other)


def test_two_patients_are_told_apart_without_their_names(tmp_path: Path) -> None:
    world.write(tmp_path, [*world.slices(), *world.slices(case="other")])
    error = refusal(tmp_path)
    assert "2 patients, 2 studies, 2 series" in str(error)


def test_patients_who_share_a_uid_are_refused_also_by_it(tmp_path: Path) -> None:
    other = changed(slice(None), PatientID="another")(world.slices())
    world.write(tmp_path, [*world.slices(), *other])
    uid_of_both = other[0].SeriesInstanceUID
    assert "occurs under 2 patients" in str(refusal(tmp_path, series=uid_of_both))


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    paths = world.write(tmp_path, world.slices())
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    error = refusal(tmp_path)
    assert error.code == 3266
    assert "IM0003.dcm is cut off: 1436 bytes of pixels, expected 1536" in str(error)


@pytest.mark.parametrize("is_part_10", [True, False])
def test_no_slice_is_lost_wherever_its_file_is_cut_off(tmp_path: Path, is_part_10: bool) -> None:
    paths = world.write(tmp_path, world.slices()[:3], preamble=is_part_10)
    whole = paths[2].read_bytes()
    for length in (*range(0, 700, 7), *range(700, len(whole), 301)):
        paths[2].write_bytes(whole[:length])
        error = refusal(tmp_path)
        assert error.code in (3253, 3266), length
        assert "IM0003.dcm" in str(error)


def test_a_compressed_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    paths = world.write(tmp_path, world.slices(), syntax=uids.RLELossless)
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    error = refusal(tmp_path)
    assert error.code in (3266, 3268)
    assert "IM0003.dcm" in str(error)


def test_damaged_compressed_pixels_are_named(tmp_path: Path) -> None:
    paths = world.write(tmp_path, world.slices(), syntax=uids.RLELossless)
    raw = paths[2].read_bytes()
    paths[2].write_bytes(raw.replace(b"\x02\x00\x00\x00\x40", b"\x0d\x00\x00\x00\x40"))
    error = refusal(tmp_path)
    assert error.code == 3268
    assert "IM0003.dcm" in str(error)


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path) -> None:
    world.write(tmp_path, world.slices(), syntax=UID("1.2.840.113619.5.2.9.9"))
    error = refusal(tmp_path)
    assert error.code == 3267
    assert "transfer syntax 1.2.840.113619.5.2.9.9" in str(error)


def test_a_slice_that_was_not_fetched_is_not_passed_over(tmp_path: Path) -> None:
    paths = world.write(tmp_path, world.slices(), names="I{}")
    paths[5].unlink()
    paths[5].symlink_to(".git/annex/objects/xy")
    error = refusal(tmp_path)
    assert error.code == 3025
    assert "I6 is a link whose content is not there" in str(error)
    paths[5].unlink()
    paths[5].write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n")
    error = refusal(tmp_path)
    assert error.code == 3253
    assert "I6 (a pointer of git-lfs" in str(error)


def test_a_linked_folder_is_read(tmp_path: Path) -> None:
    world.write(tmp_path / "elsewhere", world.slices())
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "series").symlink_to(tmp_path / "elsewhere")
    assert is_right(open_scan(tmp_path / "given"))


@pytest.mark.parametrize("content", [b"", b"<html>403 Forbidden</html>", b"\0" * 128 + b"DICM"], ids=str)
def test_a_file_that_may_be_a_lost_slice_is_not_passed_over(tmp_path: Path, content: bytes) -> None:
    world.write(tmp_path, world.slices())
    (tmp_path / "IM0007.dcm").write_bytes(content)
    error = refusal(tmp_path)
    assert error.code == 3253
    assert "IM0007.dcm" in str(error)


def test_rubbish_is_passed_over_and_counted(tmp_path: Path) -> None:
    world.write(tmp_path / "ST0" / "SE0", world.slices()[::2], names="I{}")
    world.write(tmp_path / "ST0" / "SE1", world.slices()[1::2], names="I{}")
    (tmp_path / "README.TXT").write_text("CD")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 64)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "ST0" / "._I1").write_bytes(b"macOS")
    (tmp_path / "loop").symlink_to(tmp_path)
    scan = read_dicom(tmp_path)
    assert is_right(scan)
    assert scan.notes == (f"left out of {tmp_path}: 2 x file of another kind, 1 x empty file",)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, as this one is written
def test_a_dicomdir_is_never_followed(tmp_path: Path) -> None:
    world.write(tmp_path / "cd", world.slices())
    directory = world.other_object(world.slices(), uids.MediaStorageDirectoryStorage, "")
    directory.DirectoryRecordSequence = [Dataset()]
    directory.DirectoryRecordSequence[0].ReferencedFileID = ["..", "..", "etc", "passwd"]
    world.write(tmp_path / "cd", [directory], names="DICOMDIR")
    assert is_right(read_dicom(tmp_path / "cd"))
    assert is_right(read_dicom(tmp_path / "cd" / "DICOMDIR"))


def test_files_and_archives_are_read(tmp_path: Path) -> None:
    paths = world.write(tmp_path / "series", world.slices())
    assert is_right(read_dicom(paths))
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in paths:
            packed.write(path, f"PAT/{path.name}")
        packed.writestr("PAT/._IM0001.dcm", b"macOS")
    scan = read_dicom(archive)
    assert is_right(scan)
    assert scan.source.datasets()[0].SOPInstanceUID == scan.source.instance_uids[0]
    assert [path.name for path in tmp_path.iterdir()].count("PAT") == 0


def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as packed:
        packed.writestr("../../IM0001.dcm", b"")
    error = refusal(tmp_path / "slip.zip")
    assert error.code == 3255
    assert "leads out of the archive" in str(error)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infnet_runtime.io.dicom.found._RATIO_FROM_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("a", bytes(3 << 20))
    assert "zip bomb" in str(refusal(bomb))


def test_an_archive_that_claims_to_be_large_itself_is_a_bomb_too(tmp_path: Path) -> None:
    """The size of its members in its directory is a claim; that of the file is none."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", bytes(300))
    raw = bytearray(bomb.read_bytes())
    at = raw.rfind(b"PK\1\2")
    raw[at + 20 : at + 28] = (1 << 30).to_bytes(4, "little") * 2
    bomb.write_bytes(raw)
    assert "zip bomb" in str(refusal(bomb))


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [(20, (1 << 30).to_bytes(4, "little"), "claims 1073741824 bytes for"), (28, b"\0\0", "")],
    ids=["size", "no name"],
)
def test_an_archive_with_a_wrong_directory_is_refused(
    offset: int, value: bytes, text: str, tmp_path: Path
) -> None:
    """The second claims a name of no letters, so that what follows is none of an archive."""
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("IM0001.dcm", bytes(300))
    raw = bytearray(archive.read_bytes())
    at = raw.rfind(b"PK\1\2") + offset
    raw[at : at + len(value)] = value
    archive.write_bytes(raw)
    error = refusal(archive)
    assert error.code in (3251, 3255)
    assert text in str(error)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_is_packed_in_another_way_is_refused(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", method) as packed:
        packed.writestr("IM0001.dcm", bytes(300))
    error = refusal(tmp_path / "scan.zip")
    assert error.code == 3255
    assert f"is packed by method {method}, expected deflate" in str(error)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in world.write(tmp_path / "series", world.slices()):
            packed.write(path, path.name)
    raw = bytearray(archive.read_bytes())
    raw[200:240] = bytes(40)
    archive.write_bytes(raw)
    assert refusal(archive).code == 3255


def test_a_gap_is_taken_only_where_it_is_asked_for(tmp_path: Path) -> None:
    phantom = world.small_chest()
    world.write(tmp_path, without(2)(world.slices()))
    scan = read_dicom(tmp_path, allow_gaps=True)
    assert np.array_equal(np.asarray(scan.volume.voxels).transpose(2, 1, 0), np.delete(phantom.hu, 2, 0))
    assert scan.volume.spacing_mm == pytest.approx((12.0, 13.5, 40.0))
    assert scan.volume.acquisition is not None
    (gap,) = scan.volume.acquisition.gaps
    assert (gap.after, gap.mm, gap.missing) == (1, 80.0, 1)
    assert gap.instance_uid == world.slices()[1].SOPInstanceUID


def test_a_spacing_that_is_not_uniform_is_no_gap(tmp_path: Path) -> None:
    world.write(tmp_path, uneven(world.slices()))
    assert refusal(tmp_path, allow_gaps=True).code == 3260


@pytest.mark.parametrize("limit", [None, 32767])
def test_padding_that_would_be_bone_is_air(tmp_path: Path, limit: int | None) -> None:
    single = world.slices()
    for one in single:
        stored = np.frombuffer(one.PixelData, "<i2").copy()
        stored[:3] = 30000 if limit is None else (30000, 31000, 32767)
        one.PixelData, one.PixelPaddingValue = stored.tobytes(), 30000
        one["PixelPaddingValue"].VR = "SS"
        if limit is not None:
            one.add_new("PixelPaddingRangeLimit", "SS", limit)
    world.write(tmp_path, single)
    hu = np.asarray(read_dicom(tmp_path).volume.voxels)
    assert (hu[:3, 0] == -1024).all()
    assert np.array_equal(hu[3:].transpose(2, 1, 0), world.small_chest().hu[..., 3:])


def test_padding_beyond_the_bits_is_air(tmp_path: Path) -> None:
    single = twelve_bits(world.slices())
    for one in single:
        one.PixelData = b"\x00\x80" + one.PixelData[2:]
        one.add_new("PixelPaddingValue", "SS", -32768)
    world.write(tmp_path, single)
    hu = np.asarray(read_dicom(tmp_path).volume.voxels)
    assert (hu[0, 0] == -1024).all()


def test_lossy_pixels_are_read_and_known(tmp_path: Path) -> None:
    world.write(tmp_path, changed(slice(None), LossyImageCompression="01")(world.slices()))
    scan = read_dicom(tmp_path)
    assert scan.volume.acquisition is not None
    assert scan.volume.acquisition.is_lossy


def test_values_that_leave_16_bits_are_kept(tmp_path: Path) -> None:
    single = changed(slice(None), PixelRepresentation=0)(world.slices())
    for one in single:
        stored = np.maximum(np.frombuffer(one.PixelData, "<i2"), 0).astype("<u2")
        stored[0] = 34000 + 1024
        one.PixelData, one.RescaleIntercept = stored.tobytes(), "-1024"
    world.write(tmp_path, single)
    error = refusal(tmp_path)  # of what the values mean, not of how they are stored
    assert error.code == 3042
    assert "..34000" in str(error)


def test_no_patient_field_is_kept(tmp_path: Path) -> None:
    world.write(tmp_path, world.slices())
    scan = read_dicom(tmp_path)
    assert world.PLANTED not in repr((scan.volume.id, scan.volume.acquisition, scan.source, scan.header))


def test_a_limit_of_memory_is_kept(tmp_path: Path) -> None:
    world.write(tmp_path, world.slices())
    assert refusal(tmp_path, max_bytes=1000).code == 3009


def test_a_header_that_announces_too_much_takes_no_memory(tmp_path: Path) -> None:
    world.write(tmp_path, changed(slice(None), Rows=65535, Columns=65535)(world.slices()))
    assert refusal(tmp_path, max_bytes=1 << 32).code == 3009


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infnet_runtime.io.dicom.found._MOST_INFLATED_BYTES", 1000)
    world.write(tmp_path, world.slices(), syntax=uids.DeflatedExplicitVRLittleEndian)
    error = refusal(tmp_path)
    assert error.code == 3255
    assert "IM0001.dcm inflates to more than 1000 bytes" in str(error)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infnet_runtime.io.dicom.found._MOST_FILES", 3)
    world.write(tmp_path, world.slices())
    assert refusal(tmp_path).code == 3271


def test_nothing_at_a_path_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone").code == 3001
    assert refusal(tmp_path).code == 3251


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refusal(tmp_path)
    assert error.code == 3250
    assert "pip install 'infnet[dicom]'" in str(error)


def test_many_files_of_another_kind_are_passed_quickly(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.txt").write_bytes(b"note")
    assert len(find_files([tmp_path])) == 2000
    assert "2000 x file of another kind" in str(refusal(tmp_path))
