"""Accuracy of a model file on the labelled data, from the ONNX file alone.

    python benchmarks/accuracy.py [MODEL.onnx] [--json FILE] [--overlays FOLDER]

Data: the folder INFNET_DATA, else ../shared/data beside the checkout. Protocols:

- test slices: the 48 slices of COVID-SemiSeg's test set, turned upright, the whole slice at network size, the
  probability back at the slice's size. ``paper``: mean over 256 thresholds on maps stretched to 0..1 in each
  image, as the published scores. ``clinical``: the model's threshold, no stretching, both empty counts as 1.
- coronacases slices: 116 contrast-enhanced slices, the same way, ``clinical``.
- volumes: the three Radiopaedia volumes through the whole path of ``infnet-infer`` (lungs found, box,
  threshold); Dice over all voxels of a volume; false positives are millilitres in slices without labelled
  infection. Their spacing is nominal.
- healthy: a series without COVID-19 (LIDC-IDRI-0001, DICOM; needs pydicom), the same way.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import numpy.typing as npt

from infnet_runtime import CtVolume, Intensity, Segmentation, Segmenter
from infnet_runtime.backends import Session, open_session
from infnet_runtime.backends.open import default_model
from infnet_runtime.backends.session import run_checked
from infnet_runtime.io import open_scan
from infnet_runtime.metrics import LabelledSlice, score_slices
from infnet_runtime.preprocess import predict_slice

BoolArray = npt.NDArray[np.bool_]

DATA = Path(os.environ.get("INFNET_DATA") or Path(__file__).parents[2] / "shared" / "data")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", default=None)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--overlays", type=Path, help="write overlay pictures into this folder")
    parser.add_argument("--only", choices=["slices", "volumes"], help="a part of it")
    options = parser.parse_args()
    model = options.model or default_model()
    results: dict[str, Any] = {"model": model.name}
    with open_session(model, device="cpu") as session:
        results["model_sha256"] = session.model_sha256
        if options.only != "volumes":
            results["test slices"] = measure_slices(session, list(test_slices()), paper=True)
            results["coronacases slices"] = measure_slices(session, list(coronacases_slices()), paper=False)
        if options.only != "slices":
            segmenter = Segmenter(session)
            results["volumes"] = {
                name: measure_volume(segmenter, name, truth, options.overlays)
                for name, truth in radiopaedia_volumes()
            }
            results["healthy"] = measure_healthy(segmenter, options.overlays)
    text = json.dumps(results, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", "utf-8")


def measure_slices(session: Session, slices: list[LabelledSlice], *, paper: bool) -> dict[str, Any]:
    """Scores of 8-bit slices, each at its own size."""
    manifest = session.manifest
    scores = score_slices(
        slices,
        lambda image: predict_slice(image, manifest.preprocess, lambda batch: run_checked(session, batch)),
        threshold=manifest.output.threshold,
        paper=paper,
    )
    clinical = scores.clinical.to_dict()
    result = {"n": len(slices), "clinical": {k: clinical[k] for k in ("per_slice", "pooled")}}
    if scores.paper:
        stretched = scores.paper.to_dict()
        result["paper"] = {k: v for k, v in stretched.items() if isinstance(v, float)}
    return result


def measure_volume(
    segmenter: Segmenter, name: str, truth: BoolArray, overlays: Path | None
) -> dict[str, Any]:
    """Scores of one volume through the whole path."""
    scan = open_scan(DATA / "radiopaedia-covid-volumes" / f"{name}_ct.nii.gz")
    result = segmenter.predict(scan.volume)
    mask = result.mask > 0
    healthy = ~truth.any(axis=(0, 1))  # axis 2 is the slice axis of these files
    burden = result.quantification.both
    assert burden
    if overlays:
        write_overlay(overlays / f"{name}.png", result, truth)
    return {
        "dice": float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())),
        "sensitivity": float((mask & truth).sum() / truth.sum()),
        "precision": float((mask & truth).sum() / max(mask.sum(), 1)),
        "labelled_ml": float(truth.sum() * scan.volume.voxel_volume_ml),
        "infection_ml": burden.infection_ml,
        "infection_percent": burden.infection_percent,
        "lung_ml": burden.lung_ml,
        "healthy_slices": int(healthy.sum()),
        "false_positive_ml_in_healthy_slices": float(mask[..., healthy].sum() * scan.volume.voxel_volume_ml),
        "outside_lungs_ml": result.quantification.infection_outside_lungs_ml,
        "flags": list(result.quantification.flags),
        "seconds": result.provenance.seconds,
    }


def measure_healthy(segmenter: Segmenter, overlays: Path | None) -> dict[str, Any] | None:
    """False positives in a scan without COVID-19."""
    try:
        import pydicom
    except ImportError:
        return None
    files = [pydicom.dcmread(p) for p in sorted((DATA / "lidc-idri-dicom").rglob("*.dcm"))]
    files.sort(key=lambda f: float(f.ImagePositionPatient[2]))
    hu = np.stack([f.pixel_array.astype(np.int16) + int(f.RescaleIntercept) for f in files])
    row_mm, column_mm = map(float, files[0].PixelSpacing)
    step_mm = float(files[1].ImagePositionPatient[2]) - float(files[0].ImagePositionPatient[2])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = step_mm, -row_mm, -column_mm, 1
    result = segmenter.predict(CtVolume(hu, affine, Intensity.HU, "LIDC-IDRI-0001"))
    if overlays:
        write_overlay(overlays / "LIDC-IDRI-0001.png", result, None)
    burden = result.quantification.both
    assert burden
    return {
        "lung_ml": burden.lung_ml,
        "false_positive_ml": burden.infection_ml,
        "false_positive_percent": burden.infection_percent,
        "seconds": result.provenance.seconds,
    }


def test_slices() -> Iterator[tuple[str, npt.NDArray[np.uint8], BoolArray]]:
    """Name, upright grey, upright truth."""
    folder = DATA / "covid-semiseg" / "TestingSet" / "LungInfection-Test"
    for path in sorted((folder / "Imgs").glob("*.jpg")):
        truth = read_grey(folder / "GT" / f"{path.stem}.png") > 128
        yield path.stem, np.ascontiguousarray(read_grey(path).T), np.ascontiguousarray(truth.T)


def coronacases_slices() -> Iterator[tuple[str, npt.NDArray[np.uint8], BoolArray]]:
    """Name, grey inside the lungs' box, truth inside it."""
    folder = DATA / "coronacases-slices"
    for path in sorted((folder / "ct").glob("*.png")):
        lung = read_grey(folder / "lung" / path.name) > 128
        rows, columns = (np.flatnonzero(lung.any(axis=a)) for a in (1, 0))
        box = np.s_[max(rows[0] - 3, 0) : rows[-1] + 4, max(columns[0] - 3, 0) : columns[-1] + 4]
        yield path.stem, read_grey(path)[box], (read_grey(folder / "infection" / path.name) > 128)[box]


def radiopaedia_volumes() -> Iterator[tuple[str, BoolArray]]:
    """Name and truth in the order of the file."""
    folder = DATA / "radiopaedia-covid-volumes"
    for path in sorted(folder.glob("*_infection.nii.gz")):
        yield path.name.removesuffix("_infection.nii.gz"), np.asarray(nib.load(path).dataobj) > 0


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SystemExit(f"cannot read {path}")
    return np.asarray(image, np.uint8)


def write_overlay(path: Path, result: Segmentation, truth: BoolArray | None, *, most: int = 30) -> None:
    """Contact sheet in radiological display: prediction red, truth green, lungs blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = result.volume
    lungs, mask = volume.to_lps(result.lungs), volume.to_lps(result.mask)
    marked = None if truth is None else volume.to_lps(truth)
    slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    slices = slices[np.unique(np.linspace(0, len(slices) - 1, most).round().astype(int))]
    tiles = []
    for i in slices:
        hu = volume.to_lps()[i].astype(np.float32)
        grey = hu if volume.intensity is Intensity.WINDOWED else np.clip((hu + 1050) / 1300 * 255, 0, 255)
        tile = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR)
        layers = [(lungs[i] > 0, (255, 90, 0)), (mask[i] > 0, (0, 0, 255))]
        if marked is not None:
            layers.insert(1, (marked[i], (0, 220, 0)))
        for layer, colour in layers:
            outlines, _ = cv2.findContours(
                layer.astype(np.uint8).copy(), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outlines, -1, colour, 2)
        tiles.append(cv2.resize(tile, (256, 256), interpolation=cv2.INTER_AREA))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 6)
    rows = [np.hstack(tiles[k : k + 6]) for k in range(0, len(tiles), 6)]
    cv2.imwrite(str(path), np.vstack(rows))


if __name__ == "__main__":
    main()
