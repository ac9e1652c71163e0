import errno
import gzip
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from builders import ORIENTATIONS, chest_phantom, forge_header, forge_nifti, reorient, tiny_hu, write_nifti
from infnet_runtime.errors import InputError, OutputError
from infnet_runtime.io import open_scan
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.scan.ct import Intensity

NAN = float("nan")
GEOMETRY_FIELDS = (
    slice(40, 56),
    slice(76, 108),
    slice(123, 124),
    slice(252, 328),
)  # dim, pixdim, units, forms
ML_TOLERANCE = 1e-6  # relative; NIfTI stores spacings as float32


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_orientation_from_file_to_mask(tmp_path: Path, code: str) -> None:
    phantom = chest_phantom((8, 24, 32), (30.0, 14.0, 12.0))
    path = write_nifti(tmp_path / "scan.nii", *reorient(phantom.hu, phantom.spacing_mm, code))
    scan = open_scan(path)
    assert np.array_equal(scan.volume.to_lps(), phantom.hu)
    assert scan.volume.lps_spacing_mm == pytest.approx(phantom.spacing_mm)
    assert scan.volume.intensity is Intensity.HU

    scan.write_mask(tmp_path / "mask.nii.gz", scan.volume.from_lps(phantom.infection))
    mask, image = nib.load(tmp_path / "mask.nii.gz"), nib.load(path)
    expected, _ = reorient(phantom.infection, phantom.spacing_mm, code)
    assert np.array_equal(np.asarray(mask.dataobj), expected)
    assert np.array_equal(mask.affine, image.affine)
    ml = np.count_nonzero(mask.dataobj) * abs(np.linalg.det(mask.affine)) / 1000
    assert ml == pytest.approx(phantom.infection_ml, rel=ML_TOLERANCE)
    x = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj))).mean(axis=0)[0]
    middle = nib.affines.apply_affine(mask.affine, (np.array(mask.shape) - 1) / 2)[0]
    assert x > middle + 20  # the patient's right


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(("name", "mask_name"), [("a.nii", "m.nii.gz"), ("a.nii.gz", "m.nii")])
def test_the_mask_repeats_the_geometry_byte_for_byte(
    tmp_path: Path, byte_order: str, name: str, mask_name: str
) -> None:
    private = {"descrip": b"Doe^Jane", "db_name": b"Doe^Jane", "cal_max": 400.0, "scl_inter": -10.0}
    path = forge_nifti(tmp_path / name, byte_order=byte_order, dim=(4, 4, 3, 2, 1, 1, 1, 1), **private)
    scan = read_nifti(path)
    mask = scan.volume.voxels > -400
    scan.write_mask(tmp_path / mask_name, mask)
    content = (tmp_path / mask_name).read_bytes()
    content = gzip.decompress(content) if mask_name.endswith("gz") else content
    original = forge_header(byte_order, dim=(4, 4, 3, 2, 1, 1, 1, 1), **private)
    for field in GEOMETRY_FIELDS:
        assert content[field] == original[field]
    assert b"Doe" not in content
    image = nib.load(tmp_path / mask_name)
    assert image.shape == (4, 3, 2, 1)
    assert image.get_data_dtype() == np.uint8
    assert image.header["cal_max"] == 0
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert np.array_equal(np.asarray(image.dataobj)[..., 0], mask)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("name", ["p.nii.gz", "p.nii"])
def test_probabilities_lie_where_the_scan_lies_and_are_kept_exactly(
    tmp_path: Path, byte_order: str, name: str
) -> None:
    dim = (3, 4, 3, 2, 1, 1, 1, 1)
    scan = read_nifti(forge_nifti(tmp_path / "a.nii", byte_order=byte_order, dim=dim, scl_inter=-10.0))
    probability = np.linspace(0, 1, 24).astype(np.float16).reshape(4, 3, 2)
    scan.write_probability(tmp_path / name, probability)
    image = nib.load(tmp_path / name)
    assert image.get_data_dtype() == np.dtype(f"{byte_order}f4")
    assert np.array_equal(np.asarray(image.dataobj), probability)
    assert np.array_equal(image.affine, nib.load(tmp_path / "a.nii").affine)
    for wrong, text in ((probability.astype(np.float32), "in float16"), (probability[:1], "has shape")):
        with pytest.raises(OutputError, match=text) as caught:
            scan.write_probability(tmp_path / "x.nii", wrong)
        assert caught.value.code == 8009


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    scan = read_nifti(forge_nifti(tmp_path / "a.nii"))
    for name in ("first.nii.gz", "second.nii.gz"):
        scan.write_mask(tmp_path / name, scan.volume.voxels > 0)
    assert (tmp_path / "first.nii.gz").read_bytes() == (tmp_path / "second.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("mask", "name", "text"),
    [
        (np.zeros((2, 3, 4), bool), "m.nii", r"the mask has shape \(2, 3, 4\), a.nii has \(4, 3, 2\)"),
        (
            np.zeros((4, 3, 2)),
            "m.nii",
            "INF-8009.*expected booleans or labels 0..255 in the mask of a.nii, found float64",
        ),
        (np.full((4, 3, 2), 256), "m.nii", "expected booleans or labels"),
        (np.zeros((4, 3, 2), bool), "m.png", "a NIfTI mask ends with .nii.gz or .nii"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, mask: np.ndarray, name: str, text: str) -> None:
    scan = read_nifti(forge_nifti(tmp_path / "a.nii"))
    with pytest.raises(OutputError, match=text):
        scan.write_mask(tmp_path / name, mask)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(
    ("stored", "datatype", "slope", "inter", "dtype"),
    [
        (tiny_hu(), 4, 1.0, 0.0, np.int16),
        (tiny_hu(), 4, 0.0, 5.0, np.int16),  # slope 0: no scaling at all
        (tiny_hu() + 1024, 4, 1.0, -1024.0, np.int16),
        ((tiny_hu() + 1024).astype(np.uint16), 512, 1.0, -1024.0, np.int16),
        (tiny_hu().astype(np.int32), 8, 1.0, 0.0, np.int32),
        (tiny_hu().astype(np.int64), 1024, 1.0, 0.0, np.int16),
        ((tiny_hu() + 1024).astype(np.uint32), 768, 1.0, -1024.0, np.int16),
        (tiny_hu().astype(np.float32), 16, 1.0, 0.0, np.float32),
        (tiny_hu().astype(np.float64), 64, 1.0, 0.0, np.float32),
        (tiny_hu() * 2, 4, 0.5, 0.0, np.float32),
        ((tiny_hu() // 12).astype(np.int8), 256, 12.0, 0.5, np.float32),
        (tiny_hu(), 4, 1.0, 0.5, np.float32),
    ],
)
def test_values_are_those_of_nibabel(
    tmp_path: Path,
    stored: np.ndarray,
    datatype: int,
    slope: float,
    inter: float,
    dtype: type,
    byte_order: str,
) -> None:
    fields = {
        "datatype": datatype,
        "bitpix": stored.dtype.itemsize * 8,
        "scl_slope": slope,
        "scl_inter": inter,
    }
    path = forge_nifti(tmp_path / "a.nii.gz", stored, byte_order, **fields)
    read = read_nifti(path).volume.voxels
    assert read.dtype == dtype
    voxels = np.asarray(read)
    assert voxels.dtype == dtype
    assert voxels.dtype.isnative
    assert voxels.flags.f_contiguous
    assert np.array_equal(voxels, nib.load(path).get_fdata())


def test_values_no_ct_has_are_refused(tmp_path: Path) -> None:
    big = tiny_hu().astype(np.int64) * 10**12
    with pytest.raises(
        InputError, match=r"INF-3022.*has values -1000000000000000..380000000000000; HU are small numbers"
    ):
        read_nifti(forge_nifti(tmp_path / "a.nii", big, datatype=1024, bitpix=64))
    with pytest.raises(InputError, match="HU are small numbers"):
        read_nifti(forge_nifti(tmp_path / "b.nii", scl_inter=1e30))
    huge = np.where(tiny_hu() > 300, 1e300, tiny_hu())
    with pytest.raises(InputError, match=r"of 24 voxels of c.nii are not finite"):
        read_nifti(forge_nifti(tmp_path / "c.nii", huge, datatype=64, bitpix=64, scl_slope=3e38))


def test_nan_voxels_are_counted(tmp_path: Path) -> None:
    voxels = tiny_hu().astype(np.float32)
    voxels[:3, 0, 0] = NAN
    with pytest.raises(InputError, match=r"3 of 24 voxels of a.nii are not finite") as caught:
        open_scan(forge_nifti(tmp_path / "a.nii", voxels, datatype=16, bitpix=32))
    assert caught.value.code == 3032


@pytest.mark.parametrize(
    "fields",
    [{"pixdim": (1, 0.7, 0.7, 0, 0, 0, 0, 0)}, {"scl_slope": NAN}, {"qform_code": 0, "sform_code": 0}],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_forged_files_are_refused_by_the_reader(tmp_path: Path, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        open_scan(forge_nifti(tmp_path / name, **fields))


def test_an_orientation_can_be_stated(tmp_path: Path) -> None:
    path = forge_nifti(tmp_path / "a.nii", qform_code=0, sform_code=0)
    scan = read_nifti(path, assume_orientation="LPS")
    assert scan.geometry.orientation_from == "assumed LPS"
    open_scan(path, assume_orientation="LPS")


@pytest.mark.parametrize("cut", [1, 20, 47])
def test_truncated_nii(tmp_path: Path, cut: int) -> None:
    path = forge_nifti(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        InputError, match=f"the file has {400 - cut} bytes at most, expected 400. It is truncated"
    ):
        open_scan(path)


def test_gzip_that_ends_with_fewer_voxels_than_announced(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(forge_header() + bytes(40)))
    with pytest.raises(InputError, match="ends early: found 40 bytes of voxels, expected 48"):
        open_scan(path)


def test_every_truncation_of_a_gzip_is_one_typed_error(tmp_path: Path) -> None:
    content = forge_nifti(tmp_path / "a.nii.gz").read_bytes()
    path = tmp_path / "b.nii.gz"
    for length in range(1, len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"b.nii.gz") as caught:
            open_scan(path)
        assert caught.value.code in (3006, 3010)


def test_every_flipped_byte_of_a_gzip_is_found_or_harmless(tmp_path: Path) -> None:
    content = forge_nifti(tmp_path / "a.nii.gz").read_bytes()
    path = tmp_path / "b.nii.gz"
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            scan = open_scan(path)
        except InputError:
            continue
        assert np.array_equal(scan.volume.voxels, tiny_hu())  # time and system in the gzip header


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_beyond_the_announced_ones_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        InputError, match="goes on after the 48 bytes of voxels its header announces"
    ) as caught:
        open_scan(forge_nifti(tmp_path / name, np.repeat(tiny_hu(), 2, axis=2)))
    assert caught.value.code == 3008


def test_garbage_behind_the_gzip_is_refused(tmp_path: Path) -> None:
    path = forge_nifti(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(InputError, match=r"a.nii.gz is damaged or was not copied completely") as caught:
        open_scan(path)
    assert caught.value.code == 3006


def test_a_gzip_bomb_is_stopped_at_the_announced_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb") as file:
        file.write(forge_header() + tiny_hu().tobytes(order="F"))
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="goes on after the 48 bytes"):
        open_scan(path)


def test_a_header_cannot_announce_more_than_gzip_can_hold(tmp_path: Path) -> None:
    path = forge_nifti(tmp_path / "a.nii.gz", dim=(3, 30000, 30000, 3000, 1, 1, 1, 1))
    with pytest.raises(InputError, match="claims 30000 x 30000 x 3000 voxels, 5400000000000 bytes"):
        open_scan(path, max_bytes=None)


def test_the_memory_limit(tmp_path: Path) -> None:
    path = forge_nifti(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"INF-3009.*the limit is 47 bytes. Raise the memory limit or crop"):
        open_scan(path, max_bytes=47)
    open_scan(path, max_bytes=48)


def test_content_decides_on_gzip_not_the_name(tmp_path: Path) -> None:
    path = forge_nifti(tmp_path / "a.nii")
    renamed = path.rename(tmp_path / "b.nii.gz")
    assert np.array_equal(open_scan(renamed).volume.voxels, tiny_hu())


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forge_nifti(tmp_path / "a.nii")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        patch.setattr("builtins.open", refuse)
        with pytest.raises(InputError, match=r"INF-3005\] cannot read .*a.nii: Permission denied"):
            open_scan(path)
