"""Every rule of plausibility on every good scan of the data sets, and on spoilt versions of them.

Run with ``python benchmarks/plausibility.py --json FILE``. The data sets are looked for in ``INFNET_DATA``,
or in ``../shared/data`` beside the repository; DICOM needs pydicom. A part of the room ``plausible`` joins by
a line in ``PARTS``. No network is run.
"""

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from good_scans import GoodScan, good_scans, lung_mask_of
from spoilt_grids import SPOILT_GRIDS, GridChange
from spoilt_values import HARMLESS, SPOILT, Change, Source

from infnet_runtime import CtVolume, Intensity
from infnet_runtime.arrays import AnyArray
from infnet_runtime.errors import InfnetError
from infnet_runtime.lungs import find_lungs
from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.body import body_doubts
from infnet_runtime.plausible.geometry import refuse_lost_geometry
from infnet_runtime.plausible.grey import PICTURE_RULES, VOLUME_RULES, grey_facts
from infnet_runtime.plausible.hounsfield import HU_RULES, hu_facts
from infnet_runtime.plausible.intensity import decide_intensity, doubtful_values
from infnet_runtime.plausible.rules import Rule
from infnet_runtime.scan.lung_mask import lung_mask
from infnet_runtime.version import __version__

DATA = Path(os.environ.get("INFNET_DATA") or Path(__file__).parents[2] / "shared" / "data")
_THIN_SLICES = 12  # of a volume that is spoilt in fifty ways

Versions = Callable[[GoodScan], Iterator[tuple[str, CtVolume]]]


def no_versions(good: GoodScan) -> Iterator[tuple[str, CtVolume]]:
    yield from ()


def nothing_measured(scan: CtVolume) -> Iterator[tuple[str, Rule, float]]:
    yield from ()


@dataclass(frozen=True, eq=False)
class Part:
    """One subject of the room ``plausible``.

    Parameters
    ----------
    check
        Names of the flags of a scan that warn; raises where it is refused.
    spoilt, harmless
        Changed versions of a good scan, by kind.
    measured
        Group, rule and number of a scan, where the part has such rules.
    """

    name: str
    check: Callable[[CtVolume], list[str]]
    spoilt: Versions = no_versions
    harmless: Versions = no_versions
    measured: Callable[[CtVolume], Iterator[tuple[str, Rule, float]]] = nothing_measured


def check_values(scan: CtVolume) -> list[str]:
    decide_intensity(scan.voxels, source=scan.source)
    return warnings(doubtful_values(scan))


def measured_values(scan: CtVolume) -> Iterator[tuple[str, Rule, float]]:
    if scan.intensity is Intensity.HU:
        kind, rules, facts = (
            "HU",
            HU_RULES,
            hu_facts(scan.voxels, (float(scan.voxels.min()), float(scan.voxels.max()))),
        )
    else:
        kind, rules = ("picture", PICTURE_RULES) if 1 in scan.voxels.shape else ("grey volume", VOLUME_RULES)
        facts = grey_facts(scan.voxels)
    for rule in rules:
        yield kind, rule, facts[rule.fact]


def with_values(changes: Mapping[str, Change]) -> Versions:
    """Versions with other values, in fewer slices."""

    def versions(good: GoodScan) -> Iterator[tuple[str, CtVolume]]:
        source = _thinned(good.volume, lung_mask_of(good))
        for kind, change in changes.items():
            voxels = change(source)
            if voxels is not None:
                yield kind + (", one slice" if 1 in voxels.shape else ""), _as_scan(voxels, good.name)

    return versions


def _thinned(volume: CtVolume, lungs: AnyArray | None) -> Source:
    axis = int(np.argmin(volume.voxels.shape))
    step = -(-volume.voxels.shape[axis] // _THIN_SLICES)
    part = tuple(slice(None, None, step) if a == axis else slice(None) for a in range(3))
    return Source(volume.voxels[part], volume.intensity, None if lungs is None else lungs[part])


def _as_scan(voxels: AnyArray, name: str) -> CtVolume:
    grey = voxels.dtype.kind in "iu" and voxels.min() >= 0 and voxels.max() <= 255
    return CtVolume(
        voxels, np.diag([-1.0, -1.0, 1.0, 1.0]), Intensity.WINDOWED if grey else Intensity.HU, name
    )


_LAST_LUNGS: dict[int, tuple[AnyArray, AnyArray]] = {}


def check_body(scan: CtVolume) -> list[str]:
    if not scan.grid.has_size:
        return []
    refuse_lost_geometry(scan.grid, scan.source)
    lungs = lung_mask(_lungs(scan), scan.grid, origin="threshold", source=scan.source)
    return warnings(body_doubts(scan, lungs, has_size=True))


def _lungs(scan: CtVolume) -> AnyArray:
    """Found once for the same voxels, in the good scan's own grid."""
    key = id(scan.voxels)
    if key not in _LAST_LUNGS:
        _LAST_LUNGS.clear()
        labels = find_lungs(scan.to_lps(), scan.lps_spacing_mm, scan.intensity)
        _LAST_LUNGS[key] = scan.voxels, scan.from_lps(labels)
    return _LAST_LUNGS[key][1]


def on_grids(changes: Mapping[str, GridChange]) -> Versions:
    """Versions of a volume on another grid; one slice has no proportions."""

    def versions(good: GoodScan) -> Iterator[tuple[str, CtVolume]]:
        scan = good.volume
        whole = scan.grid.has_size and 1 not in scan.voxels.shape
        for kind, change in changes.items() if whole else ():
            yield kind, CtVolume(scan.voxels, change(scan.affine), scan.intensity, scan.source)

    return versions


def warnings(flags: Iterable[Flag]) -> list[str]:
    return [flag.name for flag in flags if flag.warns]


PARTS = (
    Part("values", check_values, with_values(SPOILT), with_values(HARMLESS), measured_values),
    Part("body", check_body, on_grids(SPOILT_GRIDS)),
)


@dataclass
class Outcome:
    """What became of the scans of one kind."""

    scans: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)
    passed: list[str] = field(default_factory=list)

    def add(self, check: Callable[[CtVolume], list[str]], scan: CtVolume) -> None:
        """Check a scan."""
        self.scans += 1
        try:
            flags = check(scan)
        except InfnetError as error:
            self.refused[str(error.code)] += 1
            return
        self.flagged.update(flags)
        if not flags:
            self.passed.append(scan.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; of those that passed the first ten by name."""
        return {
            "scans": self.scans,
            "refused": dict(self.refused),
            "flagged": dict(self.flagged),
            "passed": len(self.passed),
            "passed_names": self.passed[:10],
        }


@dataclass
class Margin:
    """The numbers of one rule: of good and harmless scans, and of those spoilt ones that break it."""

    rule: Rule
    good: list[float] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Limits, the good scans' range and the broken number nearest to a limit."""
        rule = self.rule
        nearest = min(self.broken, key=lambda n: max(rule.least - n, n - rule.most), default=None)
        limits = {"at least": rule.least, "at most": rule.most}
        return {
            "fact": rule.fact,
            **{name: limit for name, limit in limits.items() if np.isfinite(limit)},
            "good": [min(self.good), max(self.good)],
            "mildest_spoilt": nearest,
            "spoilt_beyond": len(self.broken),
        }


def run(part: Part, scans: Iterable[GoodScan]) -> dict[str, Any]:
    """All outcomes and margins of one part."""
    good, harmless, spoilt = (defaultdict[str, Outcome](Outcome) for _ in range(3))
    margins: dict[tuple[str, int], Margin] = {}

    def note(scan: CtVolume, *, is_good: bool) -> None:
        for order, (kind, rule, number) in enumerate(part.measured(scan)):
            margin = margins.setdefault((kind, order), Margin(rule))
            if is_good:
                margin.good.append(number)
            elif not rule.holds(number):
                margin.broken.append(number)

    for scan in scans:
        opened = scan.volume
        good[scan.group].add(part.check, opened)
        note(opened, is_good=True)
        for kind, version in part.harmless(scan):
            harmless[kind].add(part.check, version)
            note(version, is_good=True)
        for kind, version in part.spoilt(scan):
            spoilt[kind].add(part.check, version)
            note(version, is_good=False)
    outcomes = {"good": good, "harmless": harmless, "spoilt": spoilt}
    return {
        **{name: {kind: o.to_dict() for kind, o in kinds.items()} for name, kinds in outcomes.items()},
        "rules": [{"of": kind, **margins[kind, order].to_dict()} for kind, order in sorted(margins)],
    }


def to_markdown(results: Mapping[str, Any]) -> str:
    """Tables for ``docs/plausibility.md``."""
    lines = []
    for name, part in results["parts"].items():
        if part["rules"]:
            lines += [
                f"### {name}: the limits",
                "",
                "| of | what is measured | limit | good scans | mildest spoilt one | spoilt ones beyond |",
                "| --- | --- | --- | --- | --- | --- |",
                *(_rule_row(row) for row in part["rules"]),
                "",
            ]
        for kind in ("good", "harmless", "spoilt"):
            lines += [
                f"### {name}: {kind} scans",
                "",
                "| scans | number | refused | flagged | neither |",
                "| --- | --- | --- | --- | --- |",
                *(_outcome_row(what, outcome) for what, outcome in part[kind].items()),
                "",
            ]
    return "\n".join(lines)


def _rule_row(row: Mapping[str, Any]) -> str:
    limit = ", ".join(f"{name} {row[name]:g}" for name in ("at least", "at most") if name in row)
    low, high = row["good"]
    mildest = "" if row["mildest_spoilt"] is None else number(row["mildest_spoilt"])
    return (
        f"| {row['of']} | `{row['fact']}` | {limit} | {number(low)} to {number(high)} | {mildest} | "
        f"{row['spoilt_beyond']} |"
    )


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def _outcome_row(what: str, outcome: Mapping[str, Any]) -> str:
    refused = ", ".join(f"{n} x {code}" for code, n in outcome["refused"].items())
    flagged = ", ".join(f"{n} x `{flag}`" for flag, n in outcome["flagged"].items())
    return f"| {what} | {outcome['scans']} | {refused or 0} | {flagged or 0} | {outcome['passed']} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="INFNET_DATA, else ../shared/data")
    parser.add_argument("--every", type=int, default=1, help="of the pictures only every so many-th")
    parser.add_argument("--part", choices=[part.name for part in PARTS], help="only this one")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    parts = [part for part in PARTS if arguments.part in (None, part.name)]
    results = {
        "infnet": __version__,
        "every": arguments.every,
        "parts": {part.name: run(part, good_scans(arguments.data, every=arguments.every)) for part in parts},
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    print(to_markdown(results))


if __name__ == "__main__":
    main()
