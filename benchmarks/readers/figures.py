"""The figures of ``docs/validation.md`` as SVG: numbers of cases, no picture of a scan."""

from collections.abc import Callable, Sequence
from math import floor, log10
from typing import Any

Row = dict[str, Any]

_COLOUR = {"infnet": "#1f6fb4", "first": "#d1495b", "second": "#2e8b57"}
_PAIR_COLOUR = {"infnet, first": "#d1495b", "infnet, second": "#2e8b57", "second, first": "#666666"}
_TRAINED = "manual labels"


def draw_volumes(report: Row) -> str:
    """Millilitres of the three readers, and Dice of each pair, case by case."""
    cases = report["cases"]
    row_height, top, left, width, gap = 34, 54, 110, 380, 70
    height = top + row_height * len(cases)
    parts = _begin(left + 2 * width + gap + 30, height + 70)

    def of_ml(ml: float) -> float:
        return left + (log10(max(ml, 0.1)) + 1) / 4.2 * width

    def of_dice(dice: float) -> float:
        return left + width + gap + dice * width

    parts += _scale(of_ml, [0.1, 1, 10, 100, 1000], top, height, "infection, ml")
    parts += _scale(of_dice, [0, 0.2, 0.4, 0.6, 0.8, 1], top, height, "Dice")
    for i, case in enumerate(cases):
        y = top + (i + 0.5) * row_height
        name = case["name"].removeprefix("radiopaedia_") + (" *" if case["training"] == _TRAINED else "")
        parts.append(_text(left - 10, y + 4, name, anchor="end"))
        for reader, ml in case["read_by_both"]["ml"].items():
            parts.append(_dot(of_ml(ml), y, _COLOUR[reader]))
        for pair, dice in case["read_by_both"]["dice"].items():
            if dice is not None:
                parts.append(_dot(of_dice(dice), y, _PAIR_COLOUR[pair]))
    below = height + 44
    parts += _legend(left, below, _COLOUR)
    parts += _legend(left + width + gap, below, _PAIR_COLOUR)
    parts.append(_text(left, below + 20, "* manual labels of this volume were in training"))
    return _end(parts)


def draw_bland_altman(report: Row) -> str:
    """Differences against means: infnet with each of the readers, and the readers with each other."""
    width, height, left, top, gap_x, gap_y = 290, 210, 60, 46, 80, 92
    parts = _begin(3 * (width + gap_x) + 20, 2 * (height + gap_y) + 30)
    for row, (measure, unit) in enumerate((("ml", "ml"), ("percent", "% of the lung"))):
        for column, pair in enumerate(_PAIR_COLOUR):
            x, y = left + column * (width + gap_x), top + row * (height + gap_y)
            parts += _panel(report, measure, pair, unit, (x, y, width, height))
    below = 2 * (height + gap_y) + 16
    parts.append(_dot(left + 6, below - 4, "#222", hollow=True))
    parts.append(_text(left + 16, below, "manual labels of this volume were in training"))
    return _end(parts)


def _panel(report: Row, measure: str, pair: str, unit: str, box: tuple[int, int, int, int]) -> list[str]:
    left, top, width, height = box
    agreement = report["over_cases"]["all"]["agreement"][measure]
    points = {p: _points(report["cases"], measure, p) for p in _PAIR_COLOUR}
    # All panels of a measure have the same axes, so that they can be compared.
    reach: float = 1.15 * max(
        *(abs(agreement[p]["difference"][side]) for p in points for side in ("low", "high")),
        *(abs(difference) for some in points.values() for _, difference, _ in some),
    )
    largest = 1.4 * max(mean for some in points.values() for mean, _, _ in some)

    def x(value: float) -> float:
        return left + value / largest * width

    def y(value: float) -> float:
        return top + (1 - value / reach) / 2 * height

    one, other = pair.split(", ")
    parts = [_text(left, top - 12, f"{one} less {other}, {unit}", weight="bold")]
    parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>')
    below = top + height + 16
    parts += [_text(x(value), below, f"{value:g}", anchor="middle") for value in _ticks(largest)]
    signed = sorted({sign * value for value in _ticks(reach) for sign in (-1, 1)})
    parts += [_text(left - 6, y(value) + 4, f"{value:g}", anchor="end") for value in signed]
    parts.append(_text(left + width / 2, top + height + 34, f"mean of both, {unit}", anchor="middle"))
    parts.append(_line(left, y(0), left + width, y(0), "#999"))
    edge = agreement[pair]["difference"]
    for side, dash in (("bias", ""), ("low", "5 4"), ("high", "5 4")):
        parts.append(_line(left, y(edge[side]), left + width, y(edge[side]), "#1f6fb4", dash))
        label = f"{side} {edge[side]:+.{0 if measure == 'ml' else 1}f}"
        above = y(edge[side]) + (14 if side == "low" else -4)
        parts.append(_text(left + width - 4, above, label, anchor="end", colour="#1f6fb4"))
    for mean, difference, trained in points[pair]:
        parts.append(_dot(x(mean), y(difference), "#222", hollow=trained))
    return parts


def _points(cases: Sequence[Row], measure: str, pair: str) -> list[tuple[float, float, bool]]:
    """Mean, difference, and whether manual labels of the case were in training."""
    found = []
    for case in cases:
        values = case["read_by_both"][measure]
        one, other = (values[name] for name in pair.split(", "))
        found.append(((one + other) / 2, one - other, case["training"] == _TRAINED))
    return found


def _ticks(reach: float) -> list[float]:
    """Round values from 0 up to an end, two to four beside 0."""
    power = 10.0 ** floor(log10(reach))
    step = next(step for step in (power / 2, power, 2 * power, 5 * power) if reach / step < 5)
    return [step * i for i in range(int(reach / step) + 1)]


def _scale(
    place: Callable[[float], float], values: Sequence[float], top: int, bottom: int, title: str
) -> list[str]:
    parts = [_text(place(values[0]), top - 30, title, weight="bold")]
    for value in values:
        parts.append(_line(place(value), top - 6, place(value), bottom, "#ddd"))
        parts.append(_text(place(value), top - 10, f"{value:g}", anchor="middle"))
    return parts


def _legend(left: int, y: int, colours: dict[str, str]) -> list[str]:
    parts = []
    for i, (name, colour) in enumerate(colours.items()):
        parts.append(_dot(left + 6 + i * 120, y - 4, colour))
        parts.append(_text(left + 16 + i * 120, y, name))
    return parts


def _begin(width: int, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]


def _end(parts: list[str]) -> str:
    return "\n".join([*parts, "</svg>", ""])


def _dot(x: float, y: float, colour: str, *, hollow: bool = False) -> str:
    fill = "white" if hollow else colour
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.5" '
        'fill-opacity="0.8"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashed}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{text}</text>"
    )
