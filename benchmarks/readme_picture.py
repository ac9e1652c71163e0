"""The picture that the README opens with: the report of the demo's phantom in a browser.

    python benchmarks/readme_picture.py [docs/images/report.png]

Needs Chromium (Debian's package ``chromium``) and Pillow, which the extra ``dev`` brings.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import infnet_runtime
from infnet_runtime.report.html import report_html
from infnet_runtime.scan.realistic_chest import realistic_chest

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"
_SIZE = (1000, 1172)  # pixels: the numbers and the first planes
_GREYS, _COLOURS, _GREY_SPREAD = 40, 200, 24  # of the palette, so that the file stays small


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path, nargs="?", default=PICTURE)
    picture = parser.parse_args().picture
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("needs Chromium, Debian's package chromium")
    phantom = realistic_chest()
    volume = infnet_runtime.CtVolume(
        phantom.hu, phantom.affine, infnet_runtime.Intensity.HU, "phantom.nii.gz"
    )
    with infnet_runtime.load() as model:
        page = report_html(model.predict(volume))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(page, "utf-8")
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={folder}/profile", f"--window-size={_SIZE[0]},{_SIZE[1] + 200}",
                f"--screenshot={shot}", f"file://{folder}/page.html",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        shown = Image.open(shot).convert("RGB").crop((0, 0, *_SIZE))
    _few_colours(shown).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


def _few_colours(shown: Image.Image) -> Image.Image:
    """A palette in which what is grey stays grey."""
    pixels = np.asarray(shown).astype(np.float32)
    is_grey = np.ptp(pixels, axis=2) < _GREY_SPREAD
    step = 255 / (_GREYS - 1)
    grey = np.rint(pixels.mean(axis=2, keepdims=True) / step) * step
    coloured = Image.fromarray(np.where(is_grey[..., None], 0, pixels).astype(np.uint8))
    few = np.asarray(coloured.quantize(_COLOURS, dither=Image.Dither.NONE).convert("RGB"))
    mixed = Image.fromarray(np.where(is_grey[..., None], np.rint(grey), few).astype(np.uint8))
    return mixed.quantize(256, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
