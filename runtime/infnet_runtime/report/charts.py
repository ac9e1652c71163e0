"""Charts of a report as SVG, for a page that has neither scripts nor files beside it.

Colours are classes of the page's style (``lung``, ``infection``, ``grid``), so that they follow light and
dark.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

from infnet_runtime.measure.result import HuHistogram
from infnet_runtime.measure.slices import SliceFinding

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 12, 40
_TICKS = 5
_CM2 = 100.0  # in mm2


def slice_profile(found: Sequence[SliceFinding], slice_mm: float) -> str:
    """Area of lung and infection in each slice, the head at the top.

    Parameters
    ----------
    found
        Slices with lung and a voxel size, from the feet.
    slice_mm : mm
        From one slice to the next along the body axis.
    """
    low, high = _z(found[0]) - slice_mm / 2, _z(found[-1]) + slice_mm / 2
    most = max(_area(one.lung_mm2) for one in found)
    x, y = _axis(0, most, _LEFT, _WIDTH - _RIGHT), _axis(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_vertical(_ticks(0, most), x, "area, cm²"),
        *_horizontal(_ticks(low, high), y, "z, mm (head up)"),
    ]
    for name, areas in (
        ("lung", [_area(one.lung_mm2) for one in found]),
        ("infection", [_area(one.infection_mm2) for one in found]),
    ):
        path = ""
        for run in _runs(found):
            path += f"M{_LEFT} {y(_z(found[run[0]]) - slice_mm / 2):.1f}"
            for k in run:
                path += f"H{x(areas[k]):.1f}V{y(_z(found[k]) + slice_mm / 2):.1f}"
            path += f"H{_LEFT}Z"
        parts.append(f'<path class="{name}" d="{path}"/>')
    largest = max(found, key=lambda one: _area(one.infection_mm2))
    told = (
        f"most infection in slice {largest.number}, {_area(largest.infection_mm2):.1f} cm² at z "
        f"{_z(largest):.0f} mm"
        if largest.infection_mm2
        else "no infection"
    )
    return _svg(f"Area of lung and infection by slice, from z {low:.0f} to {high:.0f} mm; {told}", parts)


def hu_histogram(counts: HuHistogram, limit_hu: float | None) -> str:
    """Share of the voxels of lung and infection at each density.

    Parameters
    ----------
    limit_hu : HU
        Drawn where given: of high opacity.
    """
    first, step = counts.from_hu, counts.step_hu
    last = first + step * len(counts.lung)
    shares = {
        name: _percent(voxels) for name, voxels in (("lung", counts.lung), ("infection", counts.infection))
    }
    most = max(max(share) for share in shares.values())
    x, y = _axis(first, last, _LEFT, _WIDTH - _RIGHT), _axis(0, most, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_vertical(_ticks(first, last), x, "HU"),
        *_horizontal(_ticks(0, most), y, f"% of voxels in {step} HU"),
    ]
    for name, share in shares.items():
        if any(share):
            steps = "".join(
                f"V{y(value):.1f}H{x(first + step * (k + 1)):.1f}" for k, value in enumerate(share)
            )
            parts.append(f'<path class="{name}" d="M{_LEFT} {y(0):.1f}{steps}V{y(0):.1f}Z"/>')
    if limit_hu is not None:
        at = x(limit_hu)
        parts.append(f'<path class="limit" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(at + 4, _TOP + 10, f"{_number(limit_hu)} HU", "start"))
    peaks = [
        f"{name} most often near {first + step * (share.index(max(share)) + 0.5):.0f} HU"
        for name, share in shares.items()
        if any(share)
    ]
    return _svg(
        f"Densities of lung and infection, each as shares of its own voxels; {', '.join(peaks)}", parts
    )


def _z(one: SliceFinding) -> float:
    assert one.z_mm is not None  # a profile is of scans with a voxel size
    return one.z_mm


def _area(mm2: float | None) -> float:
    return (mm2 or 0.0) / _CM2


def _runs(found: Sequence[SliceFinding]) -> Iterator[range]:
    """Slices that follow each other."""
    breaks = [k + 1 for k, (one, other) in enumerate(pairwise(found)) if other.number != one.number + 1]
    for start, stop in pairwise([0, *breaks, len(found)]):
        yield range(start, stop)


def _percent(voxels: Sequence[int]) -> list[float]:
    total = sum(voxels)
    return [100 * count / total if total else 0.0 for count in voxels]


def _axis(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high.

    Examples
    --------
    >>> _ticks(-7, 230)
    [0.0, 50.0, 100.0, 150.0, 200.0]
    """
    rough = ((high - low) or 1.0) / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= rough)
    return [k * step for k in range(ceil(low / step), floor(high / step) + 1)]


def _vertical(ticks: Sequence[float], x: Callable[[float], float], label: str) -> Iterator[str]:
    for tick in ticks:
        yield f'<path class="grid" d="M{x(tick):.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        yield _text(x(tick), _HEIGHT - _BOTTOM + 16, _number(tick), "middle")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, label, "middle")


def _horizontal(ticks: Sequence[float], y: Callable[[float], float], label: str) -> Iterator[str]:
    for tick in ticks:
        yield f'<path class="grid" d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}"/>'
        yield _text(_LEFT - 6, y(tick) + 4, _number(tick), "end")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">'
        f"{escape(label)}</text>"
    )


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(told: str, parts: Sequence[str]) -> str:
    """The chart, and what it shows for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(told)}">'
        f"<title>{escape(told)}</title>{''.join(parts)}</svg>"
    )
