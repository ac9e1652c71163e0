"""One scan from file to files: its mask and its report."""

from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.cli.progress import ProgressBar
from infnet_runtime.io import open_scan, prepare_folder, read_lungs, stem
from infnet_runtime.io.atomic import atomic_write
from infnet_runtime.report.text_and_json import to_json, to_text
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.scan.lung_labels import LungLabels
from infnet_runtime.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """What holds for all scans of a call.

    Parameters
    ----------
    out
        Folder for the results; that of the scan where absent.
    lungs
        Lung mask, of the one scan.
    lung_labels
        Which label of the lung mask is which lung, where its numbering is not a known one.
    intensity, assume_orientation
        As for :func:`~infnet_runtime.io.scans.open_scan`.
    batch_size
        As for :meth:`~infnet_runtime.segment.segmenter.Segmenter.predict`.
    as_json
        The report as JSON instead of text.
    """

    out: Path | None = None
    lungs: Path | None = None
    lung_labels: LungLabels | None = None
    intensity: Intensity | None = None
    assume_orientation: str | None = None
    batch_size: int | None = None
    as_json: bool = False
    show_progress: bool = False


@dataclass(frozen=True)
class CaseOutputs:
    """The files of one scan."""

    mask: Path
    report: Path


def outputs_of(path: Path, folder: Path, mask_suffix: str) -> CaseOutputs:
    """Names of the files that a scan gets.

    Examples
    --------
    >>> outputs_of(Path("in/a.nii.gz"), Path("out"), ".nii.gz").mask.as_posix()
    'out/a.infection.nii.gz'
    """
    name = stem(path)
    return CaseOutputs(folder / f"{name}.infection{mask_suffix}", folder / f"{name}.infnet.json")


def process_case(segmenter: Segmenter, path: Path, options: CaseOptions) -> str:
    """Segment a scan and write its files.

    Returns
    -------
    What is printed of it.

    Raises
    ------
    InfnetError
        If the scan or its lung mask is refused, or a file cannot be written.
    """
    scan = open_scan(path, intensity=options.intensity, assume_orientation=options.assume_orientation)
    lungs = read_lungs(options.lungs, scan.volume, options.lung_labels) if options.lungs else None
    folder = prepare_folder(path.parent if options.out is None else options.out)
    with ProgressBar(options.show_progress) as progress:
        result = segmenter.predict(scan.volume, lungs=lungs, batch_size=options.batch_size, progress=progress)
    outputs = outputs_of(path, folder, scan.mask_suffix)
    report = to_json(result, outputs={"mask": outputs.mask.name})
    scan.write_mask(outputs.mask, result.mask)
    with atomic_write(outputs.report) as file:
        file.write(report.encode())
    return report if options.as_json else to_text(result, files=[outputs.mask, outputs.report])
