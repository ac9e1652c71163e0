"""The figure of the resolution benchmark: what is found against the size of the pixels, as SVG."""

from collections.abc import Callable, Sequence
from math import log2
from typing import Any

Row = dict[str, Any]

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 330, 240, 60, 40, 70
_COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#666666")
_FLAGGED_MM, _REFUSED_MM = 2.1, 6.05


def draw(rows: Sequence[Row]) -> str:
    """Dice and infected volume of the labelled scans, false volume of the other, against the pixel."""
    pixel = [row for row in rows if row["what"] == "pixel" and row["mm"] <= 8.1]
    names = sorted({row["scan"] for row in pixel}, key=lambda name: (name.startswith("LIDC"), name))
    labelled = [row for row in pixel if "dice" in row]
    panels = [
        ("Dice", labelled, lambda row: row["dice"], (0.0, 1.0), ("0", "0.25", "0.5", "0.75", "1")),
        (
            "infected volume / labelled volume",
            labelled,
            lambda row: log2(row["infection_ml"] / row["truth_ml"]),
            (-1.0, 4.0),
            ("1/2", "1", "2", "4", "8", "16"),
        ),
        (
            "marked in a chest without COVID-19, % of the lungs",
            [row for row in pixel if "dice" not in row],
            lambda row: 100 * row["infection_ml"] / row["lung_ml"],
            (0.0, 8.0),
            ("0", "2", "4", "6", "8"),
        ),
    ]
    width = 3 * (_WIDTH + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT + 110}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for i, (title, some, value, limits, ticks) in enumerate(panels):
        parts += _panel(_LEFT + i * (_WIDTH + _GAP), title, some, value, limits, ticks, names)
    for i, name in enumerate(names):
        x = _LEFT + i * 220
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{_HEIGHT + 95}" y2="{_HEIGHT + 95}" {_stroke(i)}/>')
        parts.append(f'<text x="{x + 30}" y="{_HEIGHT + 99}">{name}</text>')
    x = _LEFT + len(names) * 220
    parts.append(f'<text x="{x}" y="{_HEIGHT + 99}">solid: averaged, dashed: pixels left out</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    left: int,
    title: str,
    rows: Sequence[Row],
    value: Callable[[Row], float],
    limits: tuple[float, float],
    ticks: Sequence[str],
    names: Sequence[str],
) -> list[str]:
    low, high = limits

    def x(mm: float) -> float:
        return left + mm / 8.5 * _WIDTH

    def y(v: float) -> float:
        return _TOP + (high - min(max(v, low), high)) / (high - low) * _HEIGHT

    bottom = _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 14}" font-weight="bold">{title}</text>']
    for i, tick in enumerate(ticks):
        v = low + (high - low) * i / (len(ticks) - 1)
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{tick}</text>')
    parts += [
        f'<text x="{x(mm):.1f}" y="{bottom + 16}" text-anchor="middle">{mm}</text>' for mm in range(0, 9, 2)
    ]
    parts.append(f'<text x="{x(4.25):.1f}" y="{bottom + 34}" text-anchor="middle">pixel, mm</text>')
    for mm, what in ((_FLAGGED_MM, "flagged"), (_REFUSED_MM, "refused")):
        parts.append(
            f'<line x1="{x(mm):.1f}" x2="{x(mm):.1f}" y1="{_TOP}" y2="{bottom}" stroke="#999" '
            'stroke-dasharray="2 3"/>'
        )
        parts.append(f'<text x="{x(mm) + 3:.1f}" y="{_TOP + 12}" fill="#777">{what}</text>')
    for i, name in enumerate(names):
        for how, dash in (("averaged", ""), ("sampled", ' stroke-dasharray="6 4"')):
            points = sorted(
                (row["mm"], value(row)) for row in rows if row["scan"] == name and row["how"] == how
            )
            path = " ".join(f"{x(mm):.1f},{y(v):.1f}" for mm, v in points)
            if path:
                parts.append(f'<polyline points="{path}" fill="none" {_stroke(i)}{dash}/>')
    return parts


def _stroke(i: int) -> str:
    return f'stroke="{_COLOURS[i % len(_COLOURS)]}" stroke-width="2"'
