"""What a slope and an intercept cost in time: a synthetic scan in several forms, everything but the network.

    python benchmarks/rescaled.py [--slices 100] [--repeats 5] [--only int16]

CPU seconds of one thread for checks, lungs, doubts and the network's input of every slice with lung, the
least of the repeats, as ratios to int16. Each scaled form is read in two ways: made in one piece
before (counted in), and plane by plane as ``rescaled`` does it. With ``--only int16`` the script runs on
versions that have no ``rescaled``.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import AnyArray
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.plausible.doubts import doubts
from infnet_runtime.plausible.intensity import decide_intensity
from infnet_runtime.scan.phantom import chest_phantom, textured
from infnet_runtime.segment.region import lungs_of, region
from infnet_runtime.slices.neighbours import volume_to_network

Read = Callable[[], AnyArray]


def main() -> None:
    options = _options()
    phantom = textured(
        chest_phantom((options.slices, 512, 512), (300 / options.slices, 0.7, 0.7), noise_hu=0)
    )
    affine = np.diag([-0.7, -0.7, 300 / options.slices, 1.0])
    hu = np.asfortranarray(phantom.hu.clip(-1000).transpose(2, 1, 0))  # as files have it
    times: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, read in forms(hu, options.only):
            start = time.process_time()
            work(CtVolume(read(), affine, Intensity.HU, name))
            times[name] = min(times.get(name, np.inf), time.process_time() - start)
    for name, seconds in times.items():
        print(f"{name:40} {seconds:7.3f} s {seconds / times['int16']:6.3f}")


def forms(hu: AnyArray, only: str | None) -> list[tuple[str, Read]]:
    if only == "int16":
        return [("int16", lambda: hu)]
    from infnet_runtime.scan.rescaled import rescaled

    found: list[tuple[str, Read]] = [("int16", lambda: hu)]
    for name, stored, slope, intercept in (
        ("uint16 - 1024", (hu + 1024).astype(np.uint16), 1.0, -1024.0),
        ("int16 x 0.5", 2 * hu, 0.5, 0.0),
    ):

        def by_planes(stored: AnyArray = stored, slope: float = slope, inter: float = intercept) -> AnyArray:
            return rescaled(stored, slope, inter, source="scan")  # type: ignore[return-value]

        def in_one_piece(read: Read = by_planes) -> AnyArray:
            return np.asarray(read())

        found += [(f"{name}, in one piece", in_one_piece), (f"{name}, by planes", by_planes)]
    return found


def work(scan: CtVolume) -> None:
    """Everything that reads the voxels."""
    decide_intensity(scan.voxels, source=scan.source)
    lungs, _ = lungs_of(scan, None)
    doubts(scan, lungs, has_size=True)
    spec = PreprocessSpec()
    looked_at = region(lungs, scan.grid, spec.crop_margin_mm)
    voxels, box = scan.to_lps(), (looked_at.rows, looked_at.columns)
    for picked in looked_at.batches(4):
        volume_to_network(voxels, picked, box, scan.intensity, spec, spacing_mm=scan.lps_spacing_mm[0])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["int16"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
