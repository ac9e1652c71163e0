"""Whether whole values 0..255 can be a CT in the lung window: no other window, not inverted, no labels.

The lung window shows lung near 50 and soft tissue near 214. How the limits were found, and what other windows
cost, stands in ``docs/plausibility.md``.
"""

import numpy as np

from infnet_runtime.arrays import ByteArray
from infnet_runtime.errors import InputError
from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.rules import Rule
from infnet_runtime.plausible.survey import Histogram, histogram
from infnet_runtime.scan.planes import contiguous
from infnet_runtime.scan.rescaled import Voxels

_LAST = 255
# Black, and what JPEG makes of it.
_BLACK = 3
_LOOKED_AT_SLICES, _LOOKED_AT_SIDE = 8, 256
_LINES = 64
_VESSEL_PIXELS = 5
# Soft tissue in the widest of usual lung windows, -1000 to 400 HU, if all of it is fat.
_LEAST_TISSUE = 160.0
_AGAIN = (
    "give the HU of the scan (convert it from its DICOM files, for example with dcm2niix), or export it "
    "again in a lung window, 1300 to 1500 HU wide around -600 to -400"
)


def grey_facts(voxels: Voxels) -> dict[str, float]:
    """What is measured of whole values 0..255.

    Returns
    -------
    levels
        How many different values there are.
    repeats
        Share of neighbours that are equal, without black and white ones.
    middle
        Share that is not white of what is not black.
    bright
        Median of the bright class, which is soft tissue.
    contrast
        Distance between the medians of the bright and the dark class, black left out.
    black
        Share of the dark class that is black.
    black_lung
        The same, but 0 where soft tissue is bright, as it is in every lung window.
    relief
        Whether small things are bright (1) or dark (-1).
    uniform
        How far the values are from being equally frequent.
    """
    seen = histogram(voxels, 0, _LAST)
    border = otsu(seen)
    bright = median(seen, border + 1, _LAST)
    black = seen.share(0, _BLACK, of=(0, max(border, _BLACK)))
    lit = seen.between(_BLACK + 1, _LAST)
    between = otsu(lit)
    return {
        "levels": float(np.count_nonzero(seen.counts)),
        "repeats": _repeats(voxels),
        "middle": _middle(seen),
        "bright": bright,
        "contrast": median(lit, between + 1, _LAST) - median(lit, _BLACK + 1, between),
        "black": black,
        "black_lung": black if bright < _LEAST_TISSUE else 0.0,
        "relief": _relief(voxels),
        "uniform": _uniform(seen),
    }


def otsu(seen: Histogram) -> int:
    """Level between dark and bright, by Otsu's method."""
    counts = seen.counts.astype(np.float64)
    number, total = np.cumsum(counts), np.cumsum(counts * seen.values)
    beyond = number[-1] - number
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (total[-1] * number / number[-1] - total) ** 2 / (number * beyond)
    return seen.first + int(np.argmax(np.where((number > 0) & (beyond > 0), between, -1.0)))


def median(seen: Histogram, low: int, high: int) -> float:
    """Median of the values between two levels; the lower one if there are none."""
    part = seen.between(low, high) if low <= high else None
    return float(part.quantile(0.5)) if part is not None and part.number() else float(low)


def _repeats(voxels: Voxels) -> float:
    """Share of equal neighbours, of those not both at an end; the lesser of two directions."""
    longest = np.argsort(voxels.shape)[-2:]
    return min(_repeats_along(voxels, int(axis)) for axis in longest)


def _repeats_along(voxels: Voxels, axis: int) -> float:
    lines = _axis_first(voxels, axis)
    steps = [max(1, round(n / _LINES)) for n in lines.shape[1:]]
    lines = np.array(lines[:, :: steps[0], :: steps[1]])
    first, second = lines[1:], lines[:-1]
    same = first == second
    lowest, highest = lines.min(), lines.max()
    counted = same & (first > max(lowest, 0))
    counted &= first < highest
    repeated = int(np.count_nonzero(counted))
    different = same.size - int(np.count_nonzero(same))
    return float(repeated / max(1, repeated + different))


def _axis_first(voxels: Voxels, axis: int) -> Voxels:
    i, j, k = axis, *(other for other in range(3) if other != axis)
    return voxels.transpose((i, j, k))


def _middle(seen: Histogram) -> float:
    """Share of the values that do not lie at the highest one, of those that do not lie at the lowest one."""
    lowest, highest = (int(v) for v in seen.values[np.flatnonzero(seen.counts)[[0, -1]]])
    return seen.share(lowest + _BLACK + 1, highest - _BLACK - 1, of=(lowest + _BLACK + 1, highest))


def _uniform(seen: Histogram) -> float:
    """Largest distance of the share below a value from a straight line; the lowest value may be padding."""
    used = np.flatnonzero(seen.counts)
    if len(used) < 2:
        return 1.0
    counts = seen.counts[used]
    running = np.cumsum(counts[1:]) / counts[1:].sum()
    line = (used[1:] - used[0]) / (_LAST - used[0]) if used[0] < _LAST else 1.0
    return float(np.abs(running - line).max())


def _relief(voxels: Voxels) -> float:
    """Whether small things are brighter (1) or darker (-1) than what is around them.

    Vessels in the lung and bones are bright; in an inverted picture they are dark.
    """
    from infnet_runtime.opencv import cv2  # reading HU does without it

    vessel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_VESSEL_PIXELS,) * 2)
    bright = dark = 0
    for plane in _planes(voxels):
        bright += int(cv2.morphologyEx(plane, cv2.MORPH_TOPHAT, vessel).sum())
        dark += int(cv2.morphologyEx(plane, cv2.MORPH_BLACKHAT, vessel).sum())
    return (bright - dark) / max(1, bright + dark)


def _planes(voxels: Voxels) -> list[ByteArray]:
    """Some slices across the shortest axis, at most about 256 pixels a side."""
    from infnet_runtime.opencv import cv2

    axis = int(np.argmin(voxels.shape))
    picked = np.unique(np.linspace(0, voxels.shape[axis] - 1, _LOOKED_AT_SLICES).round().astype(int))
    planes = []
    for index in picked:
        plane = contiguous(_axis_first(voxels, axis)[index]).astype(np.uint8, copy=False)
        factor = max(1, round(max(plane.shape) / _LOOKED_AT_SIDE))
        size = [max(1, n // factor) for n in plane.shape]
        planes.append(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA) if factor > 1 else plane)
    return [np.asarray(plane, np.uint8) for plane in planes]


def _few_levels(found: str, levels: float) -> InputError:
    return InputError(
        f"{found}, {levels:g} different ones: this looks like a mask, not like a CT; give the CT itself",
        code=3043,
    )


def _labels(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, and {share:.0%} of the neighbours that are neither black nor white are equal; in a CT "
        "noise sets them apart. This looks like a label map: give the CT itself",
        code=3043,
    )


def _two_valued(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, and {1 - share:.0%} of what is not black is white; this looks like a mask or a "
        "probability map, not like a CT: give the CT itself",
        code=3043,
    )


def _other_window(found: str, bright: float) -> InputError:
    return InputError(
        f"{found}; soft tissue is near {bright:.0f}, in the lung window near 214. This is another window, "
        "such as the whole range of HU or one for soft tissue, or the body around the lungs was blanked out: "
        f"{_AGAIN}",
        code=3046,
    )


def _lungs_black(found: str, share: float) -> InputError:
    return InputError(
        f"{found}; {share:.0%} of all that is dark is black, so lungs cannot be told from air. This is a "
        f"window for soft tissue or bone: {_AGAIN}",
        code=3046,
    )


def _all_black(found: str, share: float) -> Flag:
    return Flag(
        "lungs_black",
        f"{found}; {share:.0%} of all that is dark is black. Unless the chest is small in the image, this is "
        f"a window for soft tissue, or no CT but a mask or a probability map; {_AGAIN}",
    )


def _flat(found: str, contrast: float) -> InputError:
    return InputError(
        f"{found}; dark and bright are {contrast:.0f} levels apart, lung and soft tissue in a lung window "
        f"140 to 180. The window is too wide, or reaches down to padding: {_AGAIN}",
        code=3046,
    )


def _wide_window(found: str, bright: float) -> Flag:
    return Flag(
        "window_wide",
        f"{found}; soft tissue is near {bright:.0f}, in the lung window near 214. In so wide a window "
        f"infection is underestimated; {_AGAIN}",
    )


def _inverted(found: str, relief: float) -> InputError:
    return InputError(
        f"{found}; vessels and bones are darker than what is around them ({relief:.2f} on a scale from -1 to "
        "1). The picture looks inverted (MONOCHROME1), with air in white: invert it. If lungs are darker "
        "than tissue in it, read it with intensity windowed",
        code=3047,
    )


def _maybe_inverted(found: str, relief: float) -> Flag:
    return Flag(
        "grey_inverted",
        f"{found}; vessels and bones are darker than what is around them ({relief:.2f} on a scale from -1 to "
        "1): if air is white in it, the picture is inverted and the result means nothing",
    )


def _equalised(found: str, distance: float) -> Flag:
    return Flag(
        "grey_equalised",
        f"{found}, all equally frequent (within {distance:.1%}): the histogram was equalised, and the "
        f"network marks other places than in the original; {_AGAIN}",
    )


_NO_CT = (
    Rule("levels", _few_levels, least=12.0),
    Rule("repeats", _labels, most=0.6),
    Rule("middle", _two_valued, least=0.3),
)
VOLUME_RULES = (
    *_NO_CT,
    Rule("bright", _other_window, least=145.0),
    Rule("contrast", _flat, least=110.0),
    Rule("relief", _inverted, least=-0.02),
    Rule("black", _all_black, most=0.9),
    Rule("bright", _wide_window, least=_LEAST_TISSUE),
    Rule("uniform", _equalised, least=0.06),
)
"""In the order in which they are looked at."""

# A picture may be cut to a lung, enhanced by its publisher, or one of the training's own in a wider window.
PICTURE_RULES = (
    *_NO_CT,
    Rule("bright", _other_window, least=72.0),
    Rule("contrast", _flat, least=57.0),
    Rule("black_lung", _lungs_black, most=0.6),
    Rule("relief", _inverted, least=-0.045, vouched=_maybe_inverted),
    Rule("black", _all_black, most=0.9),
    Rule("bright", _wide_window, least=88.0),
    Rule("uniform", _equalised, least=0.06),
)
