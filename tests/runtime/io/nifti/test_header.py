import struct
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import forge_header
from infnet_runtime.errors import GeometryError, InputError
from infnet_runtime.io.nifti.header import Geometry, validate_header
from infnet_runtime.scan.grid import orientation_code

SOUND_FILE_BYTES = 352 + 4 * 3 * 2 * 2
AFFINE_TOLERANCE = 1e-6  # nibabel computes the quaternion in float32 precision
NAN, INF = float("nan"), float("inf")


def check(header: bytes, **options: Any) -> Geometry:  # noqa: ANN401 - passed on
    return validate_header(header, source="scan.nii", **options)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_a_sound_header_gives_its_geometry(byte_order: str) -> None:
    geometry = check(forge_header(byte_order), file_bytes=SOUND_FILE_BYTES, max_bytes=48)
    assert geometry.shape == (4, 3, 2)
    assert geometry.dtype == np.dtype(f"{byte_order}i2")
    assert geometry.orientation_from == "sform"
    assert orientation_code(geometry.affine) == "LPS"
    assert geometry.data_bytes == 48


UNORIENTED = {"qform_code": 0, "sform_code": 0}
QFORM_ONLY = {"sform_code": 0}


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        (
            {"dim": (3, 30000, 30000, 3000, 1, 1, 1, 1)},
            3007,
            "5400000000000 bytes from byte 352 on; the file has 400",
        ),
        (
            {"dim": (3, 4, 3, 3, 1, 1, 1, 1)},
            3007,
            "the file has 400 bytes at most, expected 424. It is truncated",
        ),
        ({"dim": (3, 4, -3, 2, 1, 1, 1, 1)}, 3012, r"has dimensions \[4, -3, 2\]"),
        ({"dim": (3, 4, 3, 0, 1, 1, 1, 1)}, 3012, "every one must be at least 1"),
        ({"dim": (0, 4, 3, 2, 1, 1, 1, 1)}, 3012, "claims 0 dimensions"),
        ({"dim": (9, 4, 3, 2, 1, 1, 1, 1)}, 3012, "claims 9 dimensions"),
        ({"dim": (2, 4, 3, 1, 1, 1, 1, 1)}, 3012, r"has 2 dimensions \[4, 3\]; expected a 3-D volume"),
        (
            {"dim": (4, 4, 3, 2, 5, 1, 1, 1)},
            3012,
            r"is 4-D with dimensions \[4, 3, 2, 5\]; expected one 3-D volume",
        ),
        ({"datatype": 128, "bitpix": 24}, 3013, "stores RGB colour voxels"),
        ({"datatype": 32, "bitpix": 64}, 3013, "stores complex voxels"),
        ({"datatype": 77}, 3013, r"stores unknown voxels \(header datatype 77\)"),
        ({"bitpix": 8}, 3013, "has 8 bits per voxel .header bitpix., datatype 4 has 16"),
        ({"pixdim": (1, NAN, 0.7, 5, 0, 0, 0, 0)}, 3014, r"has the spacing nan \(header pixdim\[1\]\)"),
        ({"pixdim": (1, 0.7, 0.7, 0, 0, 0, 0, 0)}, 3014, r"has the spacing 0.0 \(header pixdim\[3\]\)"),
        ({"pixdim": (1, 0.7, -0.7, 5, 0, 0, 0, 0)}, 3014, r"has the spacing -0.69.* \(header pixdim\[2\]\)"),
        ({"pixdim": (1, 0.7, 0.7, 500, 0, 0, 0, 0)}, 3014, "has voxels of 0.7 x 0.7 x 500 mm"),
        ({"xyzt_units": 3}, 3014, "has voxels of 0.0007 x 0.0007 x 0.005 mm"),
        ({"xyzt_units": 1}, 3014, "has voxels of 700 x 700 x 5000 mm"),
        ({"xyzt_units": 6}, 3021, "has the unknown length unit 6"),
        ({"pixdim": (1, 1, 1, 1, 0, 0, 0, 0)}, 3019, "0.7 x 0.7 x 5 mm by the sform, 1 x 1 x 1 mm by pixdim"),
        ({"pixdim": (1, 0.7, 0.7, 5.1, 0, 0, 0, 0)}, 3019, "The volume in ml depends on it"),
        ({"srow_y": (0, -0.7, 1.8, 0)}, 3259, "gantry tilted by 19.8 degrees.*_Tilt.nii"),
        ({"scl_slope": NAN}, 3015, "slope nan and intercept 0.0 .* set scl_slope to 1 and scl_inter to 0"),
        ({"scl_slope": INF}, 3015, "has the scaling slope inf"),
        ({"scl_inter": NAN}, 3015, "intercept nan"),
        ({"scl_slope": -1}, 3015, "has the negative scaling slope -1"),
        ({"srow_z": (0, 0, 0, 0)}, 3031, "the sform of scan.nii is singular"),
        (
            {"srow_z": (0, 0, NAN, 0)},
            3031,
            "the sform of scan.nii is .* finite numbers|finite numbers.*the sform",
        ),
        (QFORM_ONLY | {"quatern": (NAN, 0, 1)}, 3017, "has a damaged qform"),
        (QFORM_ONLY | {"quatern": (1, 1, 1)}, 3017, r"quaternion \(1, 1, 1\)"),
        (QFORM_ONLY | {"qoffset": (INF, 0, 0)}, 3017, "has a damaged qform"),
        (QFORM_ONLY | {"pixdim": (NAN, 0.7, 0.7, 5, 0, 0, 0, 0)}, 3017, r"qfac nan \(header pixdim\[0\]\)"),
        (UNORIENTED, 3016, "does not say where left and right are"),
        ({"qform_code": -3}, 3017, "has qform_code -3 and sform_code 1"),
        ({"quatern": (0, 0, 0)}, 3018, "the sform says LPS, the qform says RAS"),
        ({"srow_x": (0.7, 0, 0, 0)}, 3018, "the sform says RPS, the qform says LPS"),
        ({"vox_offset": 348}, 3020, "begin at byte 348"),
        ({"vox_offset": NAN}, 3020, "begin at byte nan"),
        ({"vox_offset": 1e30}, 3020, r"begin at byte 1e\+30"),
        ({"vox_offset": 352.5}, 3020, "begin at byte 352.5"),
        ({"sizeof_hdr": 540}, 3011, "is a NIfTI-2 file"),
        ({"sizeof_hdr": 347}, 3010, r"sizeof_hdr is \d+, expected 348"),
        ({"magic": b"ni1\0"}, 3011, "is half of a .hdr/.img pair"),
        ({"magic": b"\0\0\0\0"}, 3011, "is an Analyze file, which cannot say left from right"),
        ({"magic": b"n+3\0"}, 3010, "magic is b'n.3"),
    ],
)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_forged_headers_are_refused(fields: dict[str, Any], code: int, text: str, byte_order: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        check(forge_header(byte_order, **fields), file_bytes=SOUND_FILE_BYTES)
    assert caught.value.code == code
    assert "scan.nii" in str(caught.value)
    if code in (3014, 3016, 3017, 3018, 3019, 3021, 3031, 3259):
        assert isinstance(caught.value, GeometryError)


def test_the_memory_limit_holds_without_a_file_length() -> None:
    with pytest.raises(InputError, match="claims 4 x 3 x 2 voxels, 48 bytes; the limit is 47 bytes"):
        check(forge_header(), max_bytes=47)


def test_a_short_file_is_no_header() -> None:
    with pytest.raises(InputError, match="expected 352 bytes of header, found 5"):
        check(b"hello")


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": (4, 4, 3, 2, 1, 1, 1, 1)},
        {"dim": (7, 4, 3, 2, 1, 1, 1, 1)},
        {"xyzt_units": 0},
        {"pixdim": (1, 0.7, 0.7, 5.02, 0, 0, 0, 0)},  # rounded by another tool; the sform counts
        {"xyzt_units": 10},
        {"scl_slope": 0.0, "scl_inter": 7.0},
        {"qform_code": 0, "quatern": (NAN, 9, 9)},  # not used, so not judged
        {"sform_code": 0, "srow_x": (NAN, 0, 0, 0)},
    ],
)
def test_harmless_oddities_change_nothing(fields: dict[str, Any]) -> None:
    geometry, sound = check(forge_header(**fields)), check(forge_header())
    assert geometry.shape == sound.shape
    assert np.allclose(geometry.affine, sound.affine, atol=AFFINE_TOLERANCE)
    assert (geometry.slope, geometry.inter) == (1.0, 0.0)


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000.0)])
def test_other_units_become_mm(unit: int, factor: float) -> None:
    fields = {
        "pixdim": (1.0, 0.7 * factor, 0.7 * factor, 5 * factor, 0, 0, 0, 0),
        "srow_x": (-0.7 * factor, 0, 0, 9 * factor),
        "srow_y": (0, -0.7 * factor, 0, 0),
        "srow_z": (0, 0, 5 * factor, 0),
        "qoffset": (9 * factor, 0.0, 0.0),
        "xyzt_units": unit,
    }
    expected = np.diag([-0.7, -0.7, 5.0, 1.0])
    expected[0, 3] = 9
    assert np.allclose(check(forge_header(**fields)).affine, expected, atol=AFFINE_TOLERANCE)
    assert np.allclose(check(forge_header(**fields, **QFORM_ONLY)).affine, expected, atol=AFFINE_TOLERANCE)


def test_an_orientation_is_assumed_only_on_request() -> None:
    geometry = check(forge_header(**UNORIENTED), assume_orientation="PIR")
    assert geometry.orientation_from == "assumed PIR"
    assert orientation_code(geometry.affine) == "PIR"
    assert abs(np.linalg.det(geometry.affine)) == pytest.approx(0.7 * 0.7 * 5)
    assert check(forge_header(), assume_orientation="RAS").orientation_from == "sform"
    with pytest.raises(GeometryError, match="was to be read in orientation 'LLS'; expected three letters"):
        check(forge_header(**UNORIENTED), assume_orientation="LLS")


@given(
    quatern=st.tuples(*[st.floats(-0.5625, 0.5625, width=32)] * 3),
    qfac=st.sampled_from([-1.0, 0.0, 1.0]),
    offset=st.tuples(*[st.floats(-500, 500, width=32)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_the_qform_is_nibabels(quatern: tuple[float, ...], qfac: float, offset: tuple[float, ...]) -> None:
    fields = {
        "quatern": quatern,
        "qoffset": offset,
        "pixdim": (qfac, 0.7, 0.8, 5.0, 0, 0, 0, 0),
        "sform_code": 0,
    }
    header = forge_header(**fields)
    reference = nib.Nifti1Header(
        forge_header(**fields | {"pixdim": (qfac or 1.0, 0.7, 0.8, 5.0, 0, 0, 0, 0)})[:348]
    )
    assert np.allclose(check(header).affine, reference.get_qform(), atol=1e-5)


def returns_or_refuses(header: bytes) -> None:
    for options in ({}, {"file_bytes": 10**6, "max_bytes": 10**6, "assume_orientation": "LAS"}):
        try:
            geometry = check(header, **options)
        except InputError:
            continue
        assert np.isfinite(geometry.affine).all()
        assert abs(np.linalg.det(geometry.affine)) > 0
        assert min(geometry.shape) >= 1


@given(st.binary(min_size=0, max_size=360))
@settings(max_examples=200, deadline=None)
def test_any_bytes_return_or_raise_the_typed_error(content: bytes) -> None:
    returns_or_refuses(content)


EDGES = [struct.pack("<f", value) for value in (NAN, INF, -INF, 3.4e38, -3.4e38, 1e-45, 0.0, -1.0)]
EDGES += [b"\0\0", b"\xff\xff", b"\xff\x7f", b"\x00\x80"]


@given(
    st.sampled_from("<>"),
    st.lists(
        st.tuples(st.integers(0, 348), st.one_of(st.sampled_from(EDGES), st.binary(min_size=1, max_size=4))),
        max_size=6,
    ),
)
@example("<", [(280, struct.pack("<f", 3e38)), (284, struct.pack("<f", 3e38))])
@settings(max_examples=400, deadline=None)
def test_any_damage_returns_or_raises_the_typed_error(
    byte_order: str, damage: list[tuple[int, bytes]]
) -> None:
    header = bytearray(forge_header(byte_order))
    for offset, content in damage:
        header[offset : offset + len(content)] = content
    returns_or_refuses(bytes(header))
