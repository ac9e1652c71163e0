"""The public sets as stacks with lung masks: what trains the lung network, and what measures it.

=================  ==========================================  ==============================================
kind               set                                         masks
=================  ==========================================  ==============================================
``radiopaedia``    ``radiopaedia-covid-volumes`` and ``-2``    of readers, split into sides, repaired
``enhanced``       ``coronacases-slices``                      of readers; whole slices, contrast-enhanced
``pictures``       ``covid-semiseg-manual``                    of readers; cropped pictures, put together
``healthy``        ``healthy-ct-volumes``                      found by thresholds, which is right there
``normal``         ``iq-othnccd-normal``                       found by thresholds, slice by slice
``chest``          NIfTI files in ``lungs-more/chest``,        found by thresholds: scans without disease
                   heart regions of ``ct-misc``
``empty``          NIfTI files in ``lungs-more/empty``,        empty: abdomen, pelvis, head
                   the abdomen of ``ct-misc``, drawn bodies
=================  ==========================================  ==============================================

Thresholds lose consolidation and nothing else, so in scans without it their masks are labels. Every one that
is used here was looked at.
"""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.io.atomic import prepare_folder
from infnet_runtime.io.lung_masks import read_lungs
from infnet_runtime.io.nifti import read_nifti
from infnet_runtime.lungs import find_lungs
from infnet_runtime.lungs.split import split_sides
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.scan.sides import LEFT, RIGHT
from infnet_train.data.lungs.hollow import hollow_bodies
from infnet_train.data.lungs.repair import with_infection
from infnet_train.data.lungs.stack import LungStack, grey_to_hu, shrunk, write_stack
from infnet_train.data.negatives import groups_held_back
from infnet_train.data.pictures import DataError, read_grey, upright
from infnet_train.data.reserved import is_held_out, is_reserved
from infnet_train.data.semiseg import PSEUDO, regraded, turn_of
from infnet_train.data.volumes import labels_on

logger = logging.getLogger(__name__)

_DRAWN = 80

# Slices from here on show the lung bases.
_ABDOMEN_SLICES = 95
# Rows and columns of the frames that the pictures were cut from.
_CORONACASES_FRAME, _RADIOPAEDIA_FRAME = (512, 512), (401, 630)
# Nominal: the pictures say nothing of their size. Their step only decides which slices are neighbours.
_ENHANCED_MM = (6.0, 1.4, 1.4)
_PICTURE_MM = {"coronacases": (1.0, 0.7, 0.7), "radiopaedia": (3.0, 0.7, 0.7)}
_NORMAL_MM = (5.0, 0.7, 0.7)


def prepare_lungs(data: Path, out: Path) -> dict[str, int]:
    """Write every stack of the public sets into ``train`` and ``validation`` below ``out``.

    Sets that are not there are left out, reserved cases always.

    Parameters
    ----------
    data
        The folder of the sets.

    Returns
    -------
    slices of each kind, training alone

    Raises
    ------
    InfnetError
        If no set is there, a file is refused, or ``out`` has stacks already.
    """
    for part in ("train", "validation"):
        if (out / part).exists():
            raise DataError(f"{out / part} exists already; give another --out or remove it", code=3115)
    counts: dict[str, int] = {}
    for stack, validates in _stacks(data):
        folder = prepare_folder(out / ("validation" if validates else "train"))
        write_stack(folder, stack)
        if not validates:
            counts[stack.kind] = counts.get(stack.kind, 0) + len(stack.hu)
        logger.info("%s: %s, %d slices", folder.name, stack.name, len(stack.hu))
    if set(counts) <= {"empty"}:
        raise DataError(f"no set with lung masks in {data}", code=3111)
    return counts


def _stacks(data: Path) -> Iterator[tuple[LungStack, bool]]:
    """Stacks, and whether they are for validation."""
    for folder, kind in (
        ("radiopaedia-covid-volumes", "radiopaedia"),
        ("radiopaedia-covid-volumes-2", "radiopaedia"),
        ("healthy-ct-volumes", "healthy"),
    ):
        for lungs in sorted((data / folder).glob("*_lung.nii.gz")):
            if not is_reserved(lungs.name):
                yield _volume(lungs, kind), is_held_out(lungs.name)
    yield from _enhanced(data / "coronacases-slices")
    yield from _pictures(data / "covid-semiseg-manual", data / "covid-semiseg")
    yield from _normal(data / "iq-othnccd-normal")
    misc = data / "ct-misc" / "totalsegmentator"
    chests = [misc / f"{part}_ct_cropped.nii.gz" for part in ("aorta", "pulmonary")]
    for path in [*chests, *sorted((data / "lungs-more" / "chest").glob("*.nii*"))]:
        if path.is_file():
            scan = read_nifti(path).volume
            yield _of_scan(scan, path, "chest", _found(scan)), is_held_out(path.name)
    for path in [misc / "abdomen_example_ct.nii.gz", *sorted((data / "lungs-more" / "empty").glob("*.nii*"))]:
        if path.is_file():
            scan = read_nifti(path).volume
            stack = _of_scan(scan, path, "empty", np.zeros(scan.to_lps().shape, np.uint8))
            yield (_first(stack, _ABDOMEN_SLICES) if path.parent == misc else stack), is_held_out(path.name)
    yield hollow_bodies(_DRAWN), False


def _volume(lungs: Path, kind: str) -> LungStack:
    """A scan with a lung mask and an infection mask beside it."""
    name = lungs.name.removesuffix("_lung.nii.gz")
    scan = read_nifti(lungs.with_name(f"{name}_ct.nii.gz")).volume
    sides = np.ascontiguousarray(read_lungs(lungs, scan).to_lps())
    if not is_held_out(name):
        infection = labels_on(scan, lungs.with_name(f"{name}_infection.nii.gz"))
        sides = with_infection(sides, np.asarray(infection > 0))
    return _of_scan(scan, lungs.with_name(name), kind, sides)


def _of_scan(scan: CtVolume, path: Path, kind: str, sides: ByteArray) -> LungStack:
    voxels = np.asarray(scan.to_lps())
    hu = voxels if scan.intensity is Intensity.HU else grey_to_hu(voxels.astype(np.uint8))
    return shrunk(path.name.split(".")[0], kind, hu, sides, scan.lps_spacing_mm)


def _found(scan: CtVolume) -> ByteArray:
    """Lungs by thresholds, without air under a table that was taken for lung: it meets the edge."""
    sides = find_lungs(scan.to_lps(), scan.lps_spacing_mm, scan.intensity)
    edge = max(1, sides.shape[1] // 20)
    low = sides[:, -edge:].any(axis=(0, 1))
    if not low.any() or scan.lps_spacing_mm[1] * sides.shape[1] < 220:  # a field of view within the chest
        return sides
    import cv2

    for plane in sides:
        pieces = cv2.connectedComponents((plane > 0).astype(np.uint8), connectivity=4)[1]
        plane[np.isin(pieces, np.setdiff1d(pieces[-edge:], [0]))] = 0
    return sides


def _first(stack: LungStack, count: int) -> LungStack:
    return LungStack(
        stack.name,
        stack.kind,
        stack.hu[:count],
        stack.sides[:count],
        stack.spacing_mm,
        stack.seen[:count],
        stack.is_ordered,
    )


def _enhanced(folder: Path) -> Iterator[tuple[LungStack, bool]]:
    cases = sorted({path.name.rsplit("_", 1)[0] for path in (folder / "ct").glob("*.png")})
    for case in cases:
        if is_reserved(case):
            continue
        names = [path.name for path in sorted((folder / "ct").glob(f"{case}_*.png"))]
        grey, lungs, infection = (
            np.stack([read_grey(folder / part / name) for name in names])
            for part in ("ct", "lung", "infection")
        )
        sides = _repaired(lungs > 127, infection > 127, case)
        stack = shrunk(
            f"enhanced_{case}", "enhanced", grey_to_hu(grey), sides, _ENHANCED_MM, is_ordered=False
        )
        yield stack, is_held_out(case)


def _pictures(folder: Path, semiseg: Path) -> Iterator[tuple[LungStack, bool]]:
    """Cropped pictures, laid where they were cut out, so that a case is one stack."""
    table = folder / "pairs.csv"
    if not table.is_file():
        return
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = semiseg / PSEUDO / "Imgs"
    for case in sorted({row["case"] for row in rows}):
        if is_reserved(case):
            continue
        of_case = sorted((row for row in rows if row["case"] == case), key=lambda r: int(r["source_slice"]))
        is_corona = case.startswith("coronacases")
        frame = _CORONACASES_FRAME if is_corona else _RADIOPAEDIA_FRAME
        shape = (len(of_case), *frame)
        grey = np.zeros(shape, np.uint8)
        lungs, infection, seen = (np.zeros(shape, np.bool_) for _ in range(3))
        for k, row in enumerate(of_case):
            image, lung, lesion = (
                upright(read_grey(path), turn_of(case))
                for path in (
                    images / f"{row['picture']}.jpg",
                    folder / "Lung" / f"{row['picture']}.png",
                    folder / "GT" / f"{row['picture']}.png",
                )
            )
            top = min(max(int(row["row"]), 0), frame[0] - image.shape[0])
            left = min(max(int(row["column"]), 0), frame[1] - image.shape[1])
            place = (k, slice(top, top + image.shape[0]), slice(left, left + image.shape[1]))
            grey[place] = regraded(image, case)
            lungs[place], infection[place], seen[place] = lung > 127, lesion > 127, True
        name = case.replace("_org_", "_")
        sides = _repaired(lungs, infection, name)
        spacing_mm = _PICTURE_MM["coronacases" if is_corona else "radiopaedia"]
        stack = shrunk(
            f"pictures_{name}", "pictures", grey_to_hu(grey), sides, spacing_mm, seen=seen, is_ordered=False
        )
        yield stack, is_held_out(name)


def _normal(folder: Path) -> Iterator[tuple[LungStack, bool]]:
    table = folder / "slices.csv"
    if not table.is_file():
        return
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = {int(row["group"]) for row in rows}
    held_back = groups_held_back(groups)
    for group in sorted(groups):
        files = [row["file"] for row in rows if int(row["group"]) == group]
        grey = np.stack([read_grey(folder / "images" / file) for file in files])
        sides = np.concatenate([find_lungs(one[None], _NORMAL_MM, Intensity.WINDOWED) for one in grey])
        found = np.isin(sides, (RIGHT, LEFT)).any(axis=(1, 2))
        if not found.any():
            continue
        grey, sides = grey[found], sides[found]
        stack = shrunk(f"normal_{group:03d}", "normal", grey_to_hu(grey), sides, _NORMAL_MM, is_ordered=False)
        yield stack, group in held_back


def _repaired(lungs: BoolArray, infection: BoolArray, name: str) -> ByteArray:
    """Sides of a mask, repaired unless it is a measure."""
    sides = split_sides(lungs)
    return sides if is_held_out(name) else with_infection(sides, infection)
