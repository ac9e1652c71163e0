"""Which scans are done and where each file goes, settled before the first is read and the model is loaded.

No output may replace another one, an input, or a file that infnet did not write. Where the result
of a scan that was named would do so, the whole call is refused, to be typed in another way. A scan that was
found in a folder is left out with its reason, as is one that cannot be read, and the others are done.
"""

import os
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infnet_runtime.errors import InfnetError, InputError, OutputError
from infnet_runtime.io import prepare_folder
from infnet_runtime.io.dicom.cases import DicomCase, dicom_cases
from infnet_runtime.io.folders import look_into
from infnet_runtime.io.formats import (
    SCAN_SUFFIXES,
    ScanFormat,
    format_by_name,
    holds_dicom,
    is_archive,
    is_dicom,
    scan_format,
)
from infnet_runtime.report.files import ResultFiles, is_result, result_files

_NO_SERIES = 3251  # DICOM objects of other kinds, which are no failure beside scans
_LONGEST_NAME = 255  # bytes, of the common file systems


@dataclass(frozen=True)
class Case:
    """One scan to be done.

    Parameters
    ----------
    path
        Of the scan, as it was given or found.
    files
        What it gets.
    refusal
        Why it cannot be done, where that can be told without reading it.
    found
        In a folder that was given, not named itself.
    dicom
        Where it is DICOM: its folder, archive or files, and the series.
    """

    path: Path
    files: ResultFiles
    refusal: InfnetError | None = None
    found: bool = False
    dicom: DicomCase | None = None


@dataclass(frozen=True)
class Plan:
    """All scans of a call.

    Parameters
    ----------
    notes
        What was left out, for the user.
    """

    cases: tuple[Case, ...]
    notes: tuple[str, ...]

    @property
    def needs_model(self) -> bool:
        """Whether a case is there that may be a scan."""
        return any(case.refusal is None for case in self.cases)


@dataclass(frozen=True)
class _Given:
    """An input, and the folder for its results."""

    path: Path
    folder: Path
    refusal: InputError | None = None
    found: bool = False
    dicom: DicomCase | None = None


def plan_cases(
    inputs: Sequence[Path],
    *,
    out: Path | None,
    kinds: tuple[str, ...],
    others: Iterable[Path] = (),
    series: Sequence[str] = (),
) -> Plan:
    """Plan a call.

    Parameters
    ----------
    inputs
        Files, and folders that are searched with all folders below them.
    out
        Folder for the results, made if need be; results lie beside their scan where absent. Those of a
        folder's scans keep their place below it.
    kinds
        Of the files that each scan gets, out of :data:`~infnet_runtime.report.files.WORDS`.
    others
        Further files that are read: lung mask, model.
    series
        UIDs of the DICOM series that are meant, where a folder holds several.

    Raises
    ------
    InputError
        If a scan is given twice, or nothing is left to do.
    OutputError
        If the result of a scan that was named would replace another, an input, or a file of the user.
    """
    notes: list[str] = []
    given = list(_without_results(_found(inputs, out, notes, series), notes))
    if not given:
        raise InputError(f"there is no scan to do: {'; '.join(notes)}. Give CT volumes or slices", code=3023)
    _refuse_twice(given)
    cases = tuple(_case(one, kinds) for one in given)
    cases = _refused(cases, _shared(cases))
    cases = _refused(cases, _losses(cases, [*(case.path for case in cases), *others]))
    if out is not None:
        prepare_folder(out)
    return Plan(cases, tuple(notes))


def _found(
    inputs: Sequence[Path], out: Path | None, notes: list[str], series: Sequence[str]
) -> Iterator[_Given]:
    loose = [path for path in inputs if os.path.isfile(path) and is_dicom(path)]  # noqa: PTH113
    for path in inputs:
        if path in loose:
            if path == loose[0]:  # the files of one scan
                yield from _dicom(loose, path.parent, out, notes, series)
            continue
        if os.path.isfile(path) and is_archive(path):  # noqa: PTH113
            yield from _dicom([path], path.parent, out, notes, series)
            continue
        if not os.path.isdir(path):  # noqa: PTH112 - which raises no errors
            yield _Given(path, path.parent if out is None else out)
            continue
        content = look_into(path)
        has_dicom = holds_dicom(path)
        if not content.scans and not content.unreadable and not has_dicom:
            yield _Given(path, path, _without_scans(path))
            continue
        pictures = []
        for scan in content.scans:
            if has_dicom and format_by_name(scan) is ScanFormat.PICTURE:
                pictures.append(scan)
                continue
            place = scan.parent if out is None else out / scan.parent.relative_to(path)
            yield _Given(scan, place, found=True)
        for folder, refusal in content.unreadable.items():
            yield _Given(folder, folder, refusal)
        for one in _dicom([path], path, out, notes, series) if has_dicom else ():
            if (
                one.refusal is not None
                and one.refusal.code == _NO_SERIES
                and len(content.scans) > len(pictures)
            ):
                notes.append(f"left out of {path}: {one.refusal.args[0]}")
            else:
                yield one
        if pictures:
            more = f" and {len(pictures) - 1} more" if len(pictures) > 1 else ""
            notes.append(f"left out {pictures[0]}{more}: pictures beside DICOM files are no scans")


def _dicom(
    paths: Sequence[Path], top: Path, out: Path | None, notes: list[str], series: Sequence[str]
) -> Iterator[_Given]:
    """Scans among DICOM files; results lie beside the folder of a scan, and are named by its series."""
    for case in dicom_cases(paths, series):
        if case.refusal is None and case.set_aside:
            notes.append(f"left out of {case.paths[0]}: {case.set_aside}")
        path = case.paths[0]
        below = path.parent.relative_to(top) if path.parent.is_relative_to(top) else Path()
        place = path.parent if out is None else out / below
        yield _Given(path, place, case.refusal, found=path not in paths, dicom=case)


def _without_scans(folder: Path) -> InputError:
    return InputError(
        f"{folder} holds no scan: no file that ends with {', '.join(SCAN_SUFFIXES)} and no DICOM file, also "
        "in the folders below; give the folder of the scans",
        code=3023,
    )


def _without_results(given: Iterable[_Given], notes: list[str]) -> Iterator[_Given]:
    left_out: list[Path] = []
    for one in given:
        if is_result(one.path):
            left_out.append(one.path)
        else:
            yield one
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        notes.append(f"left out {left_out[0]}{more}: results of infnet, not scans")


def _case(given: _Given, kinds: tuple[str, ...]) -> Case:
    refusal: InfnetError | None = given.refusal
    name = given.path
    if given.dicom is not None:
        # Never a name that a folder has, which may be the patient's.
        name = Path(f"{given.dicom.series or 'dicom'}.dcm")
    elif refusal is None:
        try:
            scan_format(given.path)
        except InputError as error:
            refusal = error
    suffix = (format_by_name(given.path) or ScanFormat.NIFTI).mask_suffix
    files = result_files(name, given.folder, suffix, kinds)
    longest = max(files.all, key=lambda path: len(os.fsencode(path.name)))
    if refusal is None and len(os.fsencode(longest.name)) > _LONGEST_NAME:
        refusal = OutputError(f"cannot write {longest}: the name is too long; rename the scan", code=8006)
    return Case(given.path, files, refusal, given.found, given.dicom)


def _refuse_twice(given: Sequence[_Given]) -> None:
    """Refuse one file under two names: the second result would be that of the first, or replace it."""
    first: dict[tuple[tuple[int, int], str | None], Path] = {}
    for one in given:
        file = _identity(one.path)
        if file is None:
            continue
        identity = file, None if one.dicom is None else one.dicom.series
        if identity in first:
            raise InputError(
                f"{first[identity]} and {one.path} are one file, given twice; give it once", code=3024
            )
        first[identity] = one.path


def _refused(cases: Sequence[Case], trouble: Iterable[tuple[Case, OutputError]]) -> tuple[Case, ...]:
    """The cases, those with trouble refused; trouble with one that was named is raised."""
    refusals: dict[Path, OutputError] = {}
    for case, error in trouble:
        if not case.found:
            raise error
        refusals.setdefault(case.path, error)
    return tuple(replace(case, refusal=refusals.get(case.path, case.refusal)) for case in cases)


def _shared(cases: Sequence[Case]) -> Iterator[tuple[Case, OutputError]]:
    """Two scans with one name for their results, also where a disk takes two names for one."""
    owners: dict[str, tuple[str, Case, Path]] = {}
    for case in cases:
        if case.refusal is not None:
            continue
        for path in case.files.all:
            exact = _real(path)
            alike = unicodedata.normalize("NFC", exact).casefold()
            if alike not in owners:
                owners[alike] = (exact, case, path)
                continue
            other_exact, other, other_path = owners[alike]
            if other_exact != exact and not folds_case(path.parent):
                continue
            both = f"{other_path} and {path}" if other_path.name != path.name else str(path)
            error = OutputError(
                f"{other.path} and {case.path} would both write {both}, and one result would be lost; "
                f"{_way_out(other.path, case.path)}",
                code=8013,
            )
            yield from ((other, error), (case, error))


def _way_out(one: Path, other: Path) -> str:
    if _real(one.parent) == _real(other.parent):
        return "rename one, or do them in two calls with two folders (-o)"
    return (
        "leave out -o, so that results lie beside their scans, or give the folder that holds both as the "
        "input: results in -o then keep its folders"
    )


def _losses(cases: Sequence[Case], inputs: Sequence[Path]) -> Iterator[tuple[Case, OutputError]]:
    """Scans whose result would replace an input, or any file that is no earlier result of infnet."""
    identities = {_identity(path): path for path in inputs}
    names = {_real(path): path for path in inputs}
    planned = [(case, path) for case in cases if case.refusal is None for path in case.files.all]
    for case, path in planned:
        replaced = names.get(_real(path)) or identities.get(_identity(path) or (-1, -1))
        if replaced is not None:
            yield (
                case,
                OutputError(
                    f"the result of {case.path} would replace {replaced}, which is an input; choose another "
                    "folder with -o, or rename one of them",
                    code=8014,
                ),
            )
    for case, path in planned:
        error = _not_ours(case, path)
        if error is not None:
            yield case, error


def _not_ours(case: Case, path: Path) -> OutputError | None:
    if not os.path.exists(path):  # noqa: PTH110 - which raises no errors
        return None
    if not os.path.isfile(path):  # noqa: PTH113
        return OutputError(
            f"cannot write {path}: it is a folder or a device; rename it, or choose another folder with -o",
            code=8005,
        )
    if is_result(path):
        return None
    return OutputError(
        f"{path} is there already, and no report of infnet beside it lists it: it may be yours. The result "
        f"of {case.path} would replace it; rename it, or choose another folder with -o",
        code=8015,
    )


def folds_case(folder: Path) -> bool:
    """Whether a folder takes names that differ only by case, or by how accents are stored, for one."""
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), Path())
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".infnet-case-") as probe:
            return Path(probe.name).with_name(Path(probe.name).name.upper()).exists()
    except OSError:
        return sys.platform in ("win32", "darwin")


def _real(path: Path) -> str:
    """Where a name leads to, also where nothing is yet."""
    try:
        return os.path.realpath(path)
    except OSError:  # the working folder is gone
        return os.path.normpath(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a name leads to, whatever links lie between; None for none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
