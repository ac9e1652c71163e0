"""What pictures, page, tables and DICOM objects of a result cost, as a share of the run that they follow.

    python benchmarks/report_steps.py [SCAN] [--slices 133] [--threads 1] [--repeats 3] [--json FILE]

CPU seconds of each step divided by those of a run without it, from the file to the mask and the JSON; the
least of the repeats. Without a scan a phantom of 512 x 512 is run. DICOM objects are written of a folder with
a DICOM series, the headers read once more. More than ``LIMIT`` of a run, all steps
together, ends with exit code 1.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import infnet_runtime
from infnet_runtime.cpu import limit_process
from infnet_runtime.io.dicom import DicomSource
from infnet_runtime.io.nifti import write_nifti
from infnet_runtime.report.dicom.source import read_source
from infnet_runtime.report.html import report_html
from infnet_runtime.report.montage import montage_png
from infnet_runtime.report.tables import region_table, scan_row, scan_table
from infnet_runtime.report.text_and_json import to_document, to_json
from infnet_runtime.scan.phantom import chest_phantom, textured

LIMIT = 0.10


def main() -> None:
    options = _options()
    limit_process(options.threads)
    with tempfile.TemporaryDirectory() as folder, infnet_runtime.load(threads=options.threads) as model:
        scan = options.scan or _phantom(Path(folder) / "phantom.nii.gz", options.slices)

        def run() -> infnet_runtime.Segmentation:
            result = model.predict(infnet_runtime.read_dicom(scan).volume if scan.is_dir() else scan)
            write_nifti(Path(folder) / "mask.nii.gz", result.mask, result.volume.affine)
            to_json(result, outputs={})
            return result

        result = run()
        run_s = _least(run, options.repeats)
    steps: dict[str, Callable[[], object]] = {
        "report": lambda: report_html(result),
        "montage": lambda: montage_png(result),
        "csv": lambda: scan_table([scan_row(to_document(result, outputs={}))]),
        "csv-regions": lambda: region_table(result.quantification),
    }
    if scan.is_dir():
        series = infnet_runtime.read_dicom(scan).source
        steps["dicom-out"] = lambda: _dicom_out(result, series)
    seconds = {name: _least(step, options.repeats) for name, step in steps.items()}
    shares = {name: step_s / run_s for name, step_s in seconds.items()}
    shares["all"] = sum(shares.values())
    shape = " x ".join(map(str, result.volume.voxels.shape))
    print(
        f"{shape}, {result.provenance.slices_run} slices run, {result.provenance.backend}: {run_s:.2f} CPU s"
    )
    for name, share in shares.items():
        print(f"{name:12} {seconds.get(name, share * run_s):7.3f} s {100 * share:6.2f} % of the run")
    if options.json:
        document = {
            "infnet": infnet_runtime.__version__,
            "scan": shape,
            "threads": options.threads,
            "backend": result.provenance.backend,
            "model": result.provenance.model,
            "run_cpu_s": round(run_s, 3),
            "cpu_s": {name: round(value, 4) for name, value in seconds.items()},
            "shares": {name: round(value, 5) for name, value in shares.items()},
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if shares["all"] > LIMIT:
        raise SystemExit(1)


def _dicom_out(result: infnet_runtime.Segmentation, series: DicomSource) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = read_source(series)
        written = infnet_runtime.write_segmentation(Path(folder) / "seg.dcm", result, source)
        infnet_runtime.write_structured_report(Path(folder) / "sr.dcm", result, source, written)


def _phantom(path: Path, slices: int) -> Path:
    made = textured(chest_phantom((slices, 512, 512), (300 / slices, 0.7, 0.7), noise_hu=0))
    made = replace(made, hu=made.hu.clip(-1024).astype(np.int16))
    write_nifti(path, made.hu, made.affine)
    return path


def _least(work: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scan", type=Path, nargs="?")
    parser.add_argument("--slices", type=int, default=133, help="of the phantom")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
