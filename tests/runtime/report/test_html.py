"""The page of a result: true to the numbers, alone in the world, readable, and safe to open."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from builders import chest_phantom, reorient
from infnet_runtime import CtVolume, Intensity, Provenance, Segmentation
from infnet_runtime.arrays import ByteArray
from infnet_runtime.measure.burden import quantify
from infnet_runtime.measure.classes import GIVEN, with_classes
from infnet_runtime.measure.flags import NO_LUNG, Flag
from infnet_runtime.measure.slices import findings
from infnet_runtime.model.specs import CONSOLIDATION, GROUND_GLASS
from infnet_runtime.report.html import report_html
from infnet_runtime.report.views import views
from infnet_runtime.report.words import REASONS, in_words
from infnet_runtime.scan.acquisition import Acquisition, Gap
from infnet_runtime.scan.ids import ScanId
from infnet_runtime.scan.phantom import ChestPhantom

PHANTOM = chest_phantom((14, 60, 80), (16.0, 5.0, 4.5))
PROVENANCE = Provenance(
    "0",
    "m",
    "1",
    "ab" * 32,
    "b",
    "int8 + bf16",
    "cpu",
    0.5,
    1.0,
    "given",
    4,
    False,
    2,
    0,
    0,
    {"network": 1.25},
)
MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EMPTY = {"img", "input", "meta", "br", "path"}


def result_of(
    phantom: ChestPhantom = PHANTOM,
    *,
    lungs: ByteArray | None = None,
    mask: ByteArray | None = None,
    name: str | ScanId = "scan.nii",
    flags: tuple[Flag, ...] = (),
    orientation: str = "LPS",
    intensity: Intensity = Intensity.HU,
    has_size: bool = True,
) -> Segmentation:
    """A result on the phantom, measured as the runtime measures it."""
    parts = (
        phantom.hu,
        phantom.infection.astype(np.uint8) if mask is None else mask,
        phantom.lungs if lungs is None else lungs,
    )
    (hu, affine), (marked, _), (labels, _) = (reorient(a, phantom.spacing_mm, orientation) for a in parts)
    if intensity is Intensity.WINDOWED:
        hu = np.clip((hu.astype(float) + 1050) / 1300 * 255, 0, 255).astype(np.uint8)
    volume = CtVolume(hu, affine, intensity, name, has_size=has_size)
    grid, lps = volume.grid, volume.to_lps
    q = quantify(
        lps(marked),
        lps(labels),
        grid.voxel_ml,
        hu=lps() if intensity is Intensity.HU else None,
        slice_mm=grid.slice_mm,
        flags=flags,
    )
    found = findings(lps(marked), lps(labels), grid.pixel_mm2, z_mm=grid.slice_z_mm)
    return Segmentation(volume, marked, labels, q, PROVENANCE, None, slices=found)


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(result: Segmentation) -> Page:
    return Page(report_html(result, made=MADE))


def row(page: Page, name: str) -> list[str]:
    """Cells of a row of the table of sides."""
    words = " ".join(page.text.split())
    after = words[words.index(f" {name} ") + len(name) + 2 :]
    return after.split()[:3]


def test_the_page_is_alone_and_runs_nothing() -> None:
    page = report_html(result_of(), made=MADE)
    parsed = Page(page)
    names = {name for name, _ in parsed.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "a", "video", "audio"}
    assert not [key for _, attributes in parsed.elements for key in attributes if key.startswith("on")]
    (policy,) = [m for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    told = (policy["content"] or "").split("; ")
    assert told[:3] == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    sources = [image["src"] or "" for image in parsed.all("img")]
    assert len(sources) > 20
    assert all(source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for source in sources)
    without_pictures = re.sub(r"data:image/[^\"]+", "", page)
    for outside in ("http:", "https:", "//", "url(", "@import", "file:", "javascript:"):
        assert outside not in without_pictures


def test_numbers_are_those_of_the_measurement() -> None:
    result = result_of()
    page, q = page_of(result), result.quantification
    sides = [one for one in (q.both, q.right, q.left) if one is not None]
    assert len(sides) == 3
    assert row(page, "infection, ml") == [in_words(b.infection_ml) for b in sides]
    assert row(page, "infection, % of the lung (PO)") == [in_words(b.infection_percent) for b in sides]
    assert row(page, "lung, ml") == [f"{b.lung_ml:.0f}" for b in sides]
    assert row(page, "infection, ml")[0] == f"{PHANTOM.infection_ml:.1f}"
    assert "Research, not for diagnosis" in page.text


def test_it_is_the_same_page_however_the_scan_is_stored() -> None:
    first = report_html(result_of(), made=MADE)
    size = re.compile(r"\d+ x \d+ x \d+ voxels, [^<]*")
    for orientation in ("RAI", "SAR"):
        other = report_html(result_of(orientation=orientation), made=MADE)
        assert size.sub("", other) == size.sub("", first)


def test_names_cannot_write_into_the_page() -> None:
    name = "<script>alert('1')</script>\"><img src=x onerror=y>$title\udcff.nii"
    flag = Flag("odd", "<b onclick=a>bold</b> & more")
    page = report_html(result_of(name=name, flags=(flag,)), made=MADE)
    parsed = Page(page)
    assert not parsed.all("script")
    assert not parsed.all("b") or all("onclick" not in b for b in parsed.all("b"))
    assert all((image["src"] or "").startswith("data:") for image in parsed.all("img"))
    assert "<script>alert('1')</script>\"><img src=x onerror=y>$title\\xff.nii" in parsed.text
    assert "<b onclick=a>bold</b> & more" in parsed.text
    page.encode()  # every reader takes it


def test_warnings_come_before_the_numbers_and_remarks_after() -> None:
    flags = (Flag("bad", "the numbers may be wrong"), Flag("note", "only a remark", warns=False))
    text = page_of(result_of(flags=flags)).text
    order = [text.index(part) for part in ("the numbers may be wrong", "infection, ml", "only a remark")]
    assert order == sorted(order)
    assert "Warning:" in text


def test_where_it_comes_from_stands_on_it() -> None:
    scan = ScanId("scan.nii", sha256="cd" * 32)
    text = " ".join(page_of(result_of(name=scan)).text.split())
    for part in (
        "cd" * 32,
        "ab" * 32,
        "b on cpu, in int8 + bf16",
        "threshold 0.5",
        "infnet 0",
        "2026-01-02 03:04 UTC",
    ):
        assert part in text
    assert "window, level \N{MINUS SIGN}600 HU, width 1500 HU" in text
    assert "1.2.3.4" in page_of(result_of(name=ScanId("x", series_uid="1.2.3.4"))).text


def test_how_a_scan_was_taken_stands_on_it_without_what_people_type_in() -> None:
    result = result_of()
    gap = Gap(4, 7.5, 2, "1.2.3")
    taken = Acquisition(
        "Geheim Thorax", "B31f", 2.5, 120.0, "ACME X", contrast=True, is_lossy=True, gaps=(gap,)
    )
    affine = result.volume.affine
    volume = CtVolume(result.volume.voxels, affine, Intensity.HU, "x", acquisition=taken)
    text = page_of(replace(result, volume=volume)).text
    assert (
        "ACME X, kernel B31f, slices of 2.5 mm, 120 kVp, contrast medium, pixels compressed with a loss"
        in text
    )
    assert "2 planes missing after slice 5" in text
    assert "Geheim" not in text
    nothing = CtVolume(result.volume.voxels, affine, Intensity.HU, "x", acquisition=Acquisition())
    assert "not stated" in page_of(replace(result, volume=nothing)).text


def no_infection() -> Segmentation:
    return result_of(mask=np.zeros_like(PHANTOM.lungs))


def one_lung() -> Segmentation:
    right = np.where(PHANTOM.lungs == 1, 1, 0).astype(np.uint8)
    return result_of(lungs=right)


def no_lung() -> Segmentation:
    nothing = np.zeros_like(PHANTOM.lungs)
    return result_of(lungs=nothing, mask=nothing, flags=(NO_LUNG,))


def half_a_lung() -> Segmentation:
    lungs = PHANTOM.lungs.copy()
    lungs[7:] = 0
    return result_of(lungs=lungs, mask=(PHANTOM.infection & (lungs > 0)).astype(np.uint8))


def one_slice() -> Segmentation:
    plane = int(PHANTOM.infection.sum((1, 2)).argmax())
    cut = slice(plane, plane + 1)
    phantom = replace(PHANTOM, hu=PHANTOM.hu[cut], lungs=PHANTOM.lungs[cut], infection=PHANTOM.infection[cut])
    return result_of(phantom, intensity=Intensity.WINDOWED, has_size=False)


def unknown_side() -> Segmentation:
    return result_of(lungs=np.where(PHANTOM.lungs > 0, 3, 0).astype(np.uint8))


@pytest.mark.parametrize(
    ("make", "told", "not_told"),
    [
        (no_infection, ["0 ml", "no infection"], []),
        (one_lung, ["no lung found", "lung that was found"], []),
        (no_lung, ["No lung was found", "Warning"], ["0 ml", "0 %"]),
        (half_a_lung, ["Coronal"], []),
        (
            one_slice,
            [
                "no voxel size",
                "values are no HU",
                "one slice: no coronal",
                "does not state",
                "grey values of the",
            ],
            ["Coronal, from", " z ", "Area of lung"],
        ),
        (unknown_side, ["side not known"], []),
    ],
)
def test_what_cannot_be_given_is_said(
    make: Callable[[], Segmentation], told: list[str], not_told: list[str]
) -> None:
    text = " ".join(page_of(make()).text.split()).partition("Definitions")[0]
    for part in told:
        assert part in text
    for part in not_told:
        assert part not in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_every_reason_has_words() -> None:
    missing = {
        reason
        for make in (no_infection, one_lung, no_lung, half_a_lung, one_slice, unknown_side)
        for reason in make().quantification.reasons.values()
    }
    assert missing <= set(REASONS)


def test_small_numbers_are_never_written_as_none() -> None:
    assert in_words(0.0) == "0"
    for value in (1e-9, 0.004, 0.0049):
        assert in_words(value, "ml") == "< 0.01 ml"
    assert in_words(0.05) == "0.05"
    assert in_words(-0.004, "mm") == "> \N{MINUS SIGN}0.01 mm"
    assert in_words(-461.7, "HU", 0) == "\N{MINUS SIGN}462 HU"


def test_pictures_have_words_tables_have_heads_and_headings_their_order() -> None:
    parsed = page_of(result_of())
    for image in parsed.all("img"):
        assert "alt" in image
        assert image["alt"] or image.get("class") == "mark"
    words = [image["alt"] or "" for image in parsed.all("img")]
    assert any("Infection is marked." in one for one in words)
    assert any("No infection is marked." in one for one in words)
    assert all(head.get("scope") in ("col", "row") for head in parsed.all("th"))
    levels = [int(name[1]) for name, _ in parsed.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(chart.get("role") == "img" and chart.get("aria-label") for chart in parsed.all("svg"))
    labels = {label["for"] for label in parsed.all("label")}
    assert {one["id"] for one in parsed.all("input")} == labels
    assert ("html", {"lang": "en"}) in parsed.elements


def test_kinds_that_a_model_tells_apart_are_named_and_coloured() -> None:
    plain = result_of()
    kinds = plain.mask.copy()
    kinds[int(np.median(np.nonzero(kinds)[0])) :] *= 2
    lps, grid = plain.volume.to_lps, plain.volume.grid
    labels = {str(one.value): {"name": one.name} for one in (GROUND_GLASS, CONSOLIDATION)}
    q = with_classes(plain.quantification, lps(kinds), lps(plain.lungs), grid.voxel_ml, labels=labels)
    page = page_of(replace(plain, classes=kinds, quantification=q))
    text = " ".join(page.text.split())
    assert q.classes is not None
    assert q.classes.both is not None
    assert f"ground glass, by the model, ml (% of the infection) {q.classes.both.ggo_ml:.1f} (" in text
    given = with_classes(
        plain.quantification, lps(kinds), lps(plain.lungs), grid.voxel_ml, labels=labels, source=GIVEN
    )
    assert "ground glass, by the mask that was given" in page_of(replace(plain, quantification=given)).text
    assert "by HU up to" not in text.partition("Definitions")[0], "one source under one name"
    assert "show marks lungs ground glass consolidation" in text
    assert "show marks lungs infection" in " ".join(page_of(plain).text.split())


def test_without_a_lung_planes_are_those_of_the_body() -> None:
    found = views(no_lung(), most=(3, 3, 3), pixels=100, one_pixels=100)
    assert len(found) == 9
    assert all(np.ptp(view.grey) > 100 for view in found)


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,8})", css))


def contrast(one: str, other: str) -> float:
    """Ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) > 4 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_light_and_dark() -> None:
    css = resources.files("infnet_runtime.report").joinpath("page.html").read_text("utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    schemes = [colours(light), colours(dark.split("* { box-sizing")[0])]
    assert set(schemes[0]) == set(schemes[1])
    for scheme in schemes:
        for text, ground in (
            ("ink", "paper"),
            ("dim", "paper"),
            ("ink", "box"),
            ("dim", "box"),
            ("warn", "warn-box"),
            ("infection", "paper"),
        ):
            assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
        assert contrast(scheme["lung"], scheme["paper"]) >= 3
    assert contrast("#777", "#fff") < 4.5 < contrast("#767676", "#fff")


def test_the_marks_lie_on_the_plane_and_can_be_taken_away() -> None:
    page = report_html(result_of(), made=MADE)
    parsed = Page(page)
    pairs = [(a, b) for a, b in pairwise(parsed.all("img")) if b.get("class")]
    assert pairs
    for plane, mark in pairs:
        grey, layer = (
            cv2.imdecode(
                np.frombuffer(base64.b64decode((one["src"] or "").split(",")[1]), np.uint8),
                cv2.IMREAD_UNCHANGED,
            )
            for one in (plane, mark)
        )
        assert grey.shape[:2] == layer.shape[:2] == (int(plane["height"] or 0), int(plane["width"] or 0))
        assert grey.ndim == 2
        assert layer[..., 3].min() == 0
    assert "#marks:not(:checked) ~ .shown .mark" in page


def test_a_large_noisy_scan_makes_a_page_of_less_than_two_megabytes() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 200, (20, 400, 400)).astype(np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[:, 50:350, 30:190], lungs[:, 50:350, 210:380] = 1, 2
    spots = np.kron(rng.random((20, 100, 100)) < 0.2, np.ones((1, 4, 4), bool))
    phantom = ChestPhantom(hu, lungs, spots & (lungs > 0), (16.0, 0.9, 0.9))
    assert len(report_html(result_of(phantom)).encode()) <= 2_000_000


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, Debian's package chromium")


def browse(folder: Path, *arguments: str) -> str:
    assert BROWSER is not None
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
    )
    done = subprocess.run([BROWSER, *flags, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_browser
@pytest.mark.slow
def test_a_browser_shows_it_whole_on_a_phone_and_a_desk(tmp_path: Path) -> None:
    page = report_html(result_of(name="a-name-without-any-space-" * 6 + ".nii.gz"), made=MADE)
    style = "height:900px;border:0;width"
    frames = "".join(
        f'<iframe id="w{width}" style="{style}:{width}px" srcdoc="{escape(page)}"></iframe>'
        for width in (375, 1280)
    )
    script = """<script>
        onload = () => {
            for (const frame of document.querySelectorAll("iframe")) {
                const shown = frame.contentDocument;
                const broken = [...shown.images].filter(image => !image.naturalWidth).length;
                const told = [frame.id, shown.documentElement.scrollWidth, shown.images.length, broken];
                frame.outerHTML = `<p>${told.join(" ")}</p>`;
            }
        };
    </script>"""
    (tmp_path / "frames.html").write_text(f"<!DOCTYPE html><body>{frames}{script}</body>", "utf-8")
    told = browse(tmp_path, "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path}/frames.html")
    found = re.findall(r"<p>w(\d+) (\d+) (\d+) (\d+)</p>", told)
    assert [int(width) for width, *_ in found] == [375, 1280]
    for width, needed, images, broken in found:
        assert int(needed) <= int(width)
        assert int(images) > 20
        assert int(broken) == 0


@needs_browser
@pytest.mark.slow
def test_it_prints_on_two_sheets(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(report_html(result_of(), made=MADE), "utf-8")
    pdf = tmp_path / "page.pdf"
    browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{tmp_path}/page.html")
    content = pdf.read_bytes()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) <= 2
    width, height = map(float, re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", content)[0])
    assert (width, height) == pytest.approx((595, 842), abs=1)  # A4 in points


def test_the_document_and_the_page_tell_the_same_flags() -> None:
    flags = (Flag("bad", "the numbers may be wrong"),)
    result = result_of(flags=flags)
    assert json.dumps(result.quantification.flag_texts) == '{"bad": "the numbers may be wrong"}'
    assert "the numbers may be wrong" in page_of(result).text
