"""The files of a result: their names, and how they are known again.

A file counts as a result of infnet where the report beside it lists it. A name alone proves nothing: a mask
that a user drew may be called ``ct.infection.nii.gz``.
"""

from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.io import stem
from infnet_runtime.plain import values_of_json

REPORT_SUFFIX = ".infnet.json"
SCHEMA = "infnet.quantification/2"
_EARLIER_SCHEMAS = ("infnet.quantification/1",)
WORDS = {
    "mask": "infection",
    "lungs": "lungs",
    "probability": "probability",
    "montage": "montage",
    "report": "report",
    "regions": "regions",
    "classes": "classes",
    "seg": "seg",
    "sr": "sr",
}
"""Kind of file to what stands in its name."""
_ENDINGS = {"montage": ".png", "report": ".html", "regions": ".csv", "seg": ".dcm", "sr": ".dcm"}
"""Where it is not that of the mask."""

_LARGEST_REPORT = 1 << 23  # bytes; a slice takes about 150


@dataclass(frozen=True)
class ResultFiles:
    """Where the files of one scan go.

    Parameters
    ----------
    files
        Kind, as in ``WORDS``, to its file.
    report
        The JSON file that lists them.
    """

    files: dict[str, Path]
    report: Path

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, the report last."""
        return (*self.files.values(), self.report)

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.report.parent

    @property
    def listed(self) -> dict[str, str]:
        """Kind of file to its name, as the report lists them."""
        return {kind: printable(path.name) for kind, path in self.files.items()}


def result_files(scan: Path, folder: Path, mask_suffix: str, kinds: tuple[str, ...]) -> ResultFiles:
    """Names of the files that a scan gets.

    Parameters
    ----------
    mask_suffix
        Ending of what is written in the scan's geometry.
    kinds
        Of the files, out of ``WORDS``.

    Examples
    --------
    >>> result_files(Path("in/a.nii.gz"), Path("out"), ".nii.gz", ("mask",)).files["mask"].as_posix()
    'out/a.infection.nii.gz'
    """
    name = stem(scan)
    files = {kind: folder / f"{name}.{WORDS[kind]}{_ENDINGS.get(kind, mask_suffix)}" for kind in kinds}
    return ResultFiles(files, folder / f"{name}{REPORT_SUFFIX}")


@dataclass(frozen=True)
class EarlierResult:
    """What the report of an earlier run says.

    Parameters
    ----------
    scan
        Name of the scan's file.
    sha256
        Of that file; None in reports of 0.2 and before.
    shape
        Its voxels.
    names
        Files that belong to it.
    """

    scan: str
    sha256: str | None
    shape: tuple[int, ...]
    names: frozenset[str]


def earlier_result(report: Path) -> EarlierResult | None:
    """Read the report of an earlier run; None where there is none, or something else is called like it."""
    try:
        with report.open("rb") as file:
            document = values_of_json(file.read(_LARGEST_REPORT))
        if document["schema"] not in (SCHEMA, *_EARLIER_SCHEMAS):
            return None
        scan = document["input"]
        names = [*document["outputs"].values(), *document.get("outputs_of_earlier_runs", [])]
        return EarlierResult(
            str(scan["file"]), scan.get("sha256"), tuple(scan["shape"]), frozenset(map(str, names))
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def is_result(path: Path) -> bool:
    """Whether a file was written by infnet, by the report beside it."""
    if path.name.endswith(REPORT_SUFFIX):
        return earlier_result(path) is not None
    for word in WORDS.values():
        name, found, _ = path.name.rpartition(f".{word}.")
        if found:
            earlier = earlier_result(path.with_name(name + REPORT_SUFFIX))
            if earlier is not None and printable(path.name) in earlier.names:
                return True
    return False


def printable(text: str) -> str:
    r"""Text that every reader of JSON takes: bytes of a file name that are no UTF-8 become ``\xff``.

    Examples
    --------
    >>> printable("a\udcff.nii")
    'a\\xff.nii'
    """
    try:
        stored = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, as names on Windows may hold
        stored = text.encode("utf-8", "backslashreplace")
    return stored.decode("utf-8", "backslashreplace")
