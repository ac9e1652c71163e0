"""The scans in a folder of DICOM: one a study, wherever its files lie.

``patient/study/series/`` is one scan for each patient and study; the files of one series that lie in
several folders are one scan. Two series of a study, or what cannot be told apart by folders, is refused as by
the reader.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom.found import DicomFile, find_files
from infnet_runtime.io.dicom.headers import Examined, examine
from infnet_runtime.io.dicom.library import pydicom
from infnet_runtime.io.dicom.series import Series, choose, group


@dataclass(frozen=True)
class DicomCase:
    """A scan to be read by :func:`~infnet_runtime.io.dicom.read_dicom`.

    Parameters
    ----------
    paths
        A folder, an archive, or files.
    series
        Its UID; None where it is refused.
    refusal
        Why it is no scan.
    set_aside
        What lies beside the series, in words.
    """

    paths: tuple[Path, ...]
    series: str | None
    refusal: InputError | None = None
    set_aside: str = ""


def dicom_cases(paths: Sequence[Path], wanted: Sequence[str] = ()) -> list[DicomCase]:
    """Scans of one folder, one archive, or some files.

    Parameters
    ----------
    wanted
        UIDs of series: these, where any of them is there, and no others.
    """
    try:
        pydicom()
        files = find_files(paths)
        by_folder: dict[Path, list[DicomFile]] = {}
        for file in files:
            by_folder.setdefault(file.path if file.member else file.path.parent, []).append(file)
        examined = {folder: examine(inside) for folder, inside in by_folder.items()}
    except InputError as error:
        return [DicomCase(tuple(paths), None, error)]
    found = _merged(examined)
    if wanted:
        there = [uid for uid in dict.fromkeys(wanted) if any(one.uid == uid for one in group(found.images))]
        return [_case(tuple(paths), found, uid) for uid in there or wanted[:1]]
    if len(paths) == 1 and paths[0].is_dir():
        return list(_below(paths[0], examined)) or [_case(tuple(paths), found, None)]  # which is refused
    return [_case(tuple(paths), found, None)]


def list_series(paths: Sequence[Path]) -> tuple[tuple[Series, ...], Examined]:
    """All CT series, and what else is there.

    Raises
    ------
    InputError
        If files cannot be read, or pydicom is not installed.
    """
    pydicom()
    examined = examine(find_files(paths))
    return group(examined.images), examined


def _merged(examined: Mapping[Path, Examined]) -> Examined:
    return sum(examined.values(), Examined())


def _case(paths: tuple[Path, ...], found: Examined, uid: str | None) -> DicomCase:
    try:
        chosen = choose(
            found, uid, str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        )
    except InputError as error:
        return DicomCase(paths, None, error, found.others)
    return DicomCase(paths, chosen.uid, None, found.others)


def _below(folder: Path, examined: Mapping[Path, Examined]) -> Iterator[DicomCase]:
    """One scan for each study, as far down as folders keep them apart."""
    found = _merged(examined)
    studies = {(one.patient, one.study_uid) for one in group(found.images)}
    parts: dict[Path, dict[Path, Examined]] = {}
    for place, inside in examined.items():
        below = place.relative_to(folder).parts
        parts.setdefault(folder / below[0] if below else folder, {})[place] = inside
    owners = [
        {(image.patient, image.study_uid) for inside in part.values() for image in inside.images}
        for part in parts.values()
    ]
    is_apart = sum(map(len, owners)) == len(studies) and len(owners) > 1
    loose = parts.get(folder, {}).get(folder)
    if len(studies) < 2 or not is_apart or (loose is not None and loose.images):
        if found.images or found.damaged:
            yield _case((folder,), found, None)
        return
    for part, within in parts.items():
        if part != folder:
            yield from _below(part, within)
        elif loose is not None and loose.damaged:
            yield _case((folder,), loose, None)
