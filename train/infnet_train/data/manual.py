"""Radiologists' labels for pictures of COVID-SemiSeg that came without (set ``covid-semiseg-manual``).

The masks were drawn for other copies of the same slices; the set says where in the full frame of its scan
each picture lies. Its readers drew wide around some lesions: what they marked although it is as dark as
healthy lung is neither infected nor healthy here, but ignored.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infnet_runtime.arrays import BoolArray, ByteArray
from infnet_runtime.slices.neighbours import plane_step
from infnet_train.data.masks import read_mask
from infnet_train.data.pictures import INFECTED, DataError, check_size, upright
from infnet_train.data.prepared import PreparedSlice
from infnet_train.data.reserved import is_reserved
from infnet_train.data.semiseg import PSEUDO, turn_of, unlabelled_picture

# The planes of these scans were about 1 mm apart: pictures n and n + 1 are as much alike as planes 1 mm apart
# in radiopaedia_10_85902_3 (correlation .86 to .96 against .90), where planes 6 mm apart reach .77 to .87.
_PLANE_MM = 1.0
# The set lists pictures between labelled ones that its readers left out. In this case they keep a faint haze.
_UNSURE = "coronacases_org_005"
# A neighbour whose place is not written down lies between two that are, at most this many pictures apart.
_LONGEST_GAP = 16


@dataclass(frozen=True)
class _Corner:
    """Where the first pixel of an upright picture lies in the full frame of its scan."""

    row: int
    column: int


def manual_slices(manual: Path, semiseg: Path, *, step_mm: float) -> Iterator[PreparedSlice]:
    """Slices with radiologists' labels, what is unsure about them, and their neighbours.

    Parameters
    ----------
    manual
        Holds ``pairs.csv``, ``negatives.txt``, ``GT`` and ``GT-trimmed``.
    semiseg
        Root of COVID-SemiSeg, whose pictures are labelled.
    step_mm : mm
        Distance of the neighbours.

    Raises
    ------
    DataError
        If a file is missing or refused.
    """
    corners, labelled = _read_pairs(manual / "pairs.csv")
    empty = [n for n in _lines(manual / "negatives.txt") if _UNSURE not in n]
    apart = plane_step(step_mm, _PLANE_MM)
    for name in sorted(labelled | set(empty)):
        if is_reserved(name):
            continue
        grey = unlabelled_picture(semiseg, name)
        below, above = (_neighbour(semiseg, name, by, grey, corners) for by in (-apart, apart))
        if name in labelled:
            infection, ignore = _labels(manual, semiseg, name)
            check_size(semiseg / PSEUDO / "Imgs" / f"{name}.jpg", grey, infection)
        else:
            infection, ignore = np.zeros_like(grey), None
        yield PreparedSlice(name, grey, infection, ignore, below, above)


def _labels(manual: Path, semiseg: Path, name: str) -> tuple[ByteArray, ByteArray | None]:
    drawn, sure = (
        upright(read_mask(manual / kind / f"{name}.png"), turn_of(name)) > INFECTED
        for kind in ("GT", "GT-trimmed")
    )
    unsure = drawn & ~sure
    return _as_bytes(sure), _as_bytes(unsure) if unsure.any() else None


def _as_bytes(mask: BoolArray) -> ByteArray:
    return np.where(mask, 255, 0).astype(np.uint8)


def _neighbour(
    semiseg: Path, name: str, by: int, grey: ByteArray, corners: dict[str, dict[int, _Corner]]
) -> ByteArray | None:
    """The picture some numbers on, moved to where this one lies; pixels that it does not show are this one's.

    None where there is no such picture, or where it or this one lies is not known.
    """
    case, number = _case_and_number(name)
    own, other = (_corner(corners.get(case, {}), n) for n in (number, number + by))
    other_name = f"{case}_{number + by}"
    if own is None or other is None or not (semiseg / PSEUDO / "Imgs" / f"{other_name}.jpg").is_file():
        return None
    plane, moved = unlabelled_picture(semiseg, other_name), grey.copy()
    down, right = other.row - own.row, other.column - own.column
    rows, columns = (
        slice(max(start, 0), min(start + size, limit))
        for start, size, limit in zip((down, right), plane.shape, grey.shape, strict=True)
    )
    moved[rows, columns] = plane[
        rows.start - down : rows.stop - down, columns.start - right : columns.stop - right
    ]
    return moved


def _corner(known: dict[int, _Corner], number: int) -> _Corner | None:
    """Where a picture lies, or would lie between its neighbours."""
    if number in known:
        return known[number]
    before = max((n for n in known if n < number), default=None)
    after = min((n for n in known if n > number), default=None)
    if before is None or after is None or after - before > _LONGEST_GAP:
        return None
    share = (number - before) / (after - before)
    row, column = (
        round((1 - share) * a + share * b)
        for a, b in (
            (known[before].row, known[after].row),
            (known[before].column, known[after].column),
        )
    )
    return _Corner(row, column)


def _read_pairs(path: Path) -> tuple[dict[str, dict[int, _Corner]], set[str]]:
    """Corners by case and number, and the names of the labelled pictures."""
    corners: dict[str, dict[int, _Corner]] = defaultdict(dict)
    names = set()
    try:
        for row in csv.DictReader(_lines(path)):
            case, number = _case_and_number(row["picture"])
            corners[case][number] = _Corner(int(row["row"]), int(row["column"]))
            names.add(row["picture"])
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} is not a table of picture, row and column ({error}); get the set again", code=3114
        ) from error
    return corners, names


def _case_and_number(name: str) -> tuple[str, int]:
    case, _, number = name.rpartition("_")
    return case, int(number)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})", code=3114) from error
