"""A result as one HTML page: numbers, planes, charts, what to know, and how it was made.

The page stands alone: no script, nothing from elsewhere, which its content security policy also says. It
holds nothing of the patient but what the name of the scan's file says.
"""

import base64
import platform
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.io.dicom.patient import Patient
from infnet_runtime.io.png import png_bytes
from infnet_runtime.measure.definitions import CLASS_DEFINITIONS, DEFINITIONS, HIGH_OPACITY_ABOVE_HU
from infnet_runtime.measure.result import Quantification
from infnet_runtime.opencv import cv2
from infnet_runtime.report.charts import hu_histogram, slice_profile
from infnet_runtime.report.files import printable
from infnet_runtime.report.html_numbers import numbers_table, summary
from infnet_runtime.report.montage import draw_outline
from infnet_runtime.report.views import View, legend, tilt_words, views, window_words
from infnet_runtime.report.words import LUNGS, MINUS, REASONS, hu_in_words, in_words
from infnet_runtime.scan.acquisition import Acquisition
from infnet_runtime.segment.given_mask import Measured, MeasuredHow
from infnet_runtime.segment.result import Provenance, Segmentation

_MOST = (12, 4, 4)  # axial, coronal and sagittal planes
_PIXELS = (400, 300, 200)  # of the longer side; less where a page would be too large
_LARGEST = 1_900_000  # bytes of all pictures
_JPEG_QUALITY = 88
_FILLING = 70  # of 255, inside an infection
_NAMES = {"axial": "Axial", "coronal": "Coronal", "sagittal": "Sagittal"}
_SIDES = {"axial": "from the head down", "coronal": "from the front", "sagittal": "from the patient's right"}


def report_html(
    result: Segmentation | Measured, *, made: datetime | None = None, patient: Patient | None = None
) -> str:
    """Write a result as a page.

    Parameters
    ----------
    made
        Date on the page; now where absent.
    patient
        Whose scan it is, where a user wants it on the page.
    """
    page = resources.files("infnet_runtime.report").joinpath("page.html").read_text("utf-8")
    q = result.quantification
    for pixels in _PIXELS:
        shown = views(result, most=_MOST, pixels=pixels, one_pixels=2 * pixels)
        pictures = _pictures(result, shown)
        if len(pictures) <= _LARGEST:
            break
    return Template(page).substitute(
        name=_safe(result.volume.source),
        patient=f'<p class="dim"><bdi>{_safe(patient.line)}</bdi></p>' if patient else "",
        scan=_scan(result),
        across=4 if len(shown) > 1 else 1,
        widest="1fr" if len(shown) > 1 else "640px",
        across_phone=2 if len(shown) > 1 else 1,
        across_print=6 if len(shown) > 1 else 1,
        warnings="\n".join(
            f'<p class="warning" role="note"><strong>Warning:</strong> {_safe(q.flag_texts[name])}</p>'
            for name in q.warnings
        ),
        summary=summary(q),
        numbers=numbers_table(q),
        pictures=pictures,
        charts=_charts(result),
        notes=_notes(q),
        definitions=_pairs(_definitions(q)),
        provenance=_pairs(_provenance(result)),
        made=_safe(f"{made or datetime.now(UTC):%Y-%m-%d %H:%M %Z}"),
    )


def _safe(text: str) -> str:
    return escape(printable(text))


def _scan(result: Segmentation | Measured) -> str:
    volume, q = result.volume, result.quantification
    mm = " x ".join(f"{s:.2f}" for s in volume.spacing_mm)
    size = f"{mm} mm" if q.has_size else "no voxel size: no millilitres"
    shape = " x ".join(map(str, volume.voxels.shape))
    slices = "1 slice" if q.slices == 1 else f"{q.slices} slices"
    return _safe(f"{shape} voxels, {size}, {slices}, {q.slices_with_lung} with lung")


def _pictures(result: Segmentation | Measured, shown: list[View]) -> str:
    keys = "".join(
        f'<span class="key" style="border-color:{_css(colour)};background:{_css(colour)}55"></span>'
        f"{escape(name)}"
        for name, colour in legend(result)
    )
    words = [window_words(result.volume)]
    if tilt := tilt_words(result.volume):
        words.append(tilt)
    if {view.plane for view in shown} == {"axial"}:
        why = "one slice" if result.quantification.slices < 2 else "no voxel size"
        words.append(f"{why}: no coronal and no sagittal planes")
    if not result.volume.grid.has_size:
        words.append("sides as in radiological display, which the input does not state")
    planes = []
    for plane, name in _NAMES.items():
        figures = [_figure(view) for view in shown if view.plane == plane]
        if figures:
            what = f"{name}, {_SIDES[plane]}" if len(figures) > 1 else name
            planes.append(f'<h3>{escape(what)}</h3><div class="planes">{"".join(figures)}</div>')
    return (
        '<input type="checkbox" id="marks" checked> <label class="noprint" for="marks">show marks</label>'
        f"{keys}<p>{_safe('; '.join(words)).replace(' -', f' {MINUS}')}. "
        "R, L: the patient's right and left; A, P: front and back; H, F: head and feet."
        f'</p><div class="shown">{"".join(planes)}</div>'
    )


def _figure(view: View) -> str:
    infected = any(mark.filled and mark.where.any() for mark in view.marks)
    place = {"axial": "Slice", "coronal": "Row", "sagittal": "Column"}[view.plane]
    text = f"{place} {view.number}/{view.of}"
    if view.z_mm is not None:
        text += f", z {in_words(view.z_mm, 'mm', 0)}"
    marked = "Infection is marked." if infected else "No infection is marked."
    alt = f"{_NAMES[view.plane]} plane. {place} {view.number} of {view.of}. {marked}"
    rows, columns = view.grey.shape
    sides = "".join(
        f'<i class="{at}" aria-hidden="true">{letter}</i>'
        for at, letter in zip("lrtb", view.edges, strict=True)
    )
    return (
        f'<figure><div class="plane"><img src="{_jpeg(view.grey)}" width="{columns}" height="{rows}" '
        f'alt="{escape(alt)}"><img class="mark" src="{_marks(view)}" alt="">{sides}</div>'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def _jpeg(grey: ByteArray) -> str:
    content = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _marks(view: View) -> str:
    """What is marked, on nothing: the plane below can be seen without it."""
    layer = np.zeros((*view.grey.shape, 4), np.uint8)
    for mark in view.marks:
        blue_first = mark.colour[::-1]
        if mark.filled:
            layer[mark.where] = (*blue_first, _FILLING)
        draw_outline(layer, mark.where, (*blue_first, 255))
    return f"data:image/png;base64,{base64.b64encode(png_bytes(layer)).decode()}"


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _charts(result: Segmentation | Measured) -> str:
    q, parts = result.quantification, []
    slice_mm = result.volume.grid.slice_mm
    if slice_mm is None or len(result.slices) < 2:
        why = "no voxel size" if slice_mm is None else "fewer than two slices with lung"
        parts.append(("Slice profile", f"<p>Not given: {why}.</p>"))
    else:
        parts.append(
            ("Area of lung (blue) and infection (red) by slice", slice_profile(result.slices, slice_mm))
        )
    if q.hu_histogram is None:
        why = REASONS.get(q.reasons.get("hu_histogram", ""), "no lung found")
        parts.append(("Densities", f"<p>Not given: {escape(why)}.</p>"))
    else:
        chart = hu_histogram(q.hu_histogram, HIGH_OPACITY_ABOVE_HU)
        parts.append(("Densities of lung (blue) and infection (red)", chart))
    charts = "".join(f"<div><h3>{escape(title)}</h3>{chart}</div>" for title, chart in parts)
    return f'<div class="charts">{charts}</div>'


def _notes(q: Quantification) -> str:
    notes = [text for name, text in q.flag_texts.items() if name not in q.warnings]
    band = q.uncertainty.infection_ml_band
    if band:
        told = ", ".join(f"{in_words(ml, 'ml')} at {threshold}" for threshold, ml in band.items())
        notes.append(f"infection by threshold of the probability: {told}; no interval of confidence")
    flip = q.uncertainty.flip_disagreement
    if flip is not None and "check_this_scan" not in q.flags:
        notes.append(f"the mask and that of the mirrored slices differ by {100 * flip:.0f} % (1 - Dice)")
    if q.infection_outside_lungs_ml:
        ml = in_words(q.infection_outside_lungs_ml, "ml")
        notes.append(f"{ml} were marked outside of the lungs and are not counted")
    if q.flat_marks_ml and "flat_marks_removed" not in q.flags:
        notes.append(f"{in_words(q.flat_marks_ml, 'ml')} of flat marks were left out")
    if not notes:
        notes = ["nothing beyond the warnings above" if q.warnings else "no warnings and no remarks"]
    return f'<ul class="plain">{"".join(f"<li>{_safe(note)}</li>" for note in notes)}</ul>'


def _definitions(q: Quantification) -> Iterator[tuple[str, str]]:
    definitions = DEFINITIONS if q.classes is None else DEFINITIONS | CLASS_DEFINITIONS
    for name, text in definitions.items():
        if isinstance(text, str) and name != "notice":  # which stands on the page already
            yield name, text
    yield "high_opacity_above_hu", hu_in_words(HIGH_OPACITY_ABOVE_HU)


def _provenance(result: Segmentation | Measured) -> Iterator[tuple[str, str]]:
    p, volume = result.provenance, result.volume
    yield "input", volume.source
    yield "SHA-256 of the input", volume.id.sha256 or "not known: not from a file"
    if volume.id.series_uid:
        yield "series", volume.id.series_uid
    if volume.acquisition is not None:
        yield "taken", _taken(volume.acquisition)
    yield from _by_a_mask(p) if isinstance(p, MeasuredHow) else _by_a_model(p)
    yield "lungs", LUNGS.get(p.lungs, p.lungs) + (f": {p.lung_model}" if p.lung_model else "")
    yield "values", f"read as {volume.intensity}"
    yield (
        "versions",
        f"infnet {p.infnet}, Python {platform.python_version()}, numpy {np.__version__}, OpenCV "
        f"{cv2.__version__}",
    )
    yield "seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in p.seconds.items())


def _taken(scan: Acquisition) -> str:
    """How a scan was taken, without the description of its series, into which people type names."""
    told = [scan.scanner, f"kernel {scan.kernel}" if scan.kernel else ""]
    told += ["" if scan.thickness_mm is None else f"slices of {scan.thickness_mm:g} mm"]
    told += ["" if scan.kvp is None else f"{scan.kvp:g} kVp", "contrast medium" if scan.contrast else ""]
    told += ["pixels compressed with a loss" if scan.is_lossy else ""]
    told += [f"{gap.missing} planes missing after slice {gap.after + 1}" for gap in scan.gaps]
    return ", ".join(filter(None, told)) or "not stated"


def _by_a_mask(p: MeasuredHow) -> Iterator[tuple[str, str]]:
    yield "mask", p.mask or "of a program"
    yield "SHA-256 of the mask", p.mask_sha256 or "not known: not from a file"
    yield "lobes", "given" if p.lobes == "given" else "not given"


def _by_a_model(p: Provenance) -> Iterator[tuple[str, str]]:
    yield "model", f"{p.model} {p.model_version}, SHA-256 {p.model_sha256}"
    yield (
        "computed by",
        f"{p.backend} on {p.device}, in {p.precision}" + (f"; {p.choice}" if p.choice else ""),
    )
    flat = "kept" if p.keep_flat_marks else "left out"
    gate = "off" if p.slice_gate_mm2 is None else f"{p.slice_gate_mm2:g} mm²"
    yield (
        "options",
        f"threshold {p.threshold:g}, temperature {p.temperature:g}, batch size {p.batch_size}, fast "
        f"{'on' if p.fast else 'off'}, slice gate {gate}, flat marks {flat}",
    )
    yield (
        "slices",
        f"{p.slices_run} through the network, {p.slices_interpolated} interpolated, {p.slices_skipped} left "
        "out without lung",
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>' for name, text in pairs)}</dl>"
