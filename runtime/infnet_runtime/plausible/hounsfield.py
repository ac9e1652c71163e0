"""Whether values can be the HU of a chest: neither shifted, scaled, inverted, clipped, nor blanked out.

Air is -1000 HU, lung -950 to -500, fat -100, muscle 50, and little is denser than 400. Padding is what lies
alone below all of it. How the limits were found stands in ``docs/plausibility.md``.
"""

import numpy as np

from infnet_runtime.errors import InputError
from infnet_runtime.measure.flags import Flag
from infnet_runtime.plausible.rules import Rule
from infnet_runtime.plausible.survey import Histogram, histogram
from infnet_runtime.scan.rescaled import Voxels

_LEVELS = (-(2**12), 2**12 - 1)
_AIR_HU = (-1200.0, -500.0)  # and lung
_LUNG_HU = (-900.0, -500.0)  # hardly any noise of open air reaches in
_TISSUE_HU = (-200.0, 300.0)
_BODY_HU, _DENSE_HU = -300.0, 400.0
_HIGHEST_HU = 32767.0  # the most an extended 16-bit scale stores
_PADDING_HU = -1000
# Values this far above padding belong to what is scanned; rounding of padding stays below.
_ALONE_HU, _ALONE_SHARE = 20, 0.02
_MOST_PADDINGS, _LEAST_PADDED = 3, 10
# Of what is scanned, the share below its lowest value proper; single dark voxels do not count.
_LOWEST_SHARE = 1e-4
# A drawing without noise has a handful of values; its air of -1000 lies as alone as padding.
_LEAST_LEVELS = 12
_PEAK_WIDTH_HU = 31
_AGAIN = "convert the scan again from its DICOM files, for example with dcm2niix"


def hu_facts(voxels: Voxels, ends: tuple[float, float]) -> dict[str, float]:
    """What is measured of values that are taken for HU.

    Parameters
    ----------
    ends
        The lowest and the highest value of all voxels; the rest is measured of a sample.

    Returns
    -------
    lowest, highest : HU
    air
        Share between -1200 and -500 HU, without the most frequent of these values, which may be padding.
    tissue
        Share between -200 and 300 HU.
    below_air
        Share below -1200 HU of what is not padding.
    dense
        Share above 400 HU of what is denser than lung.
    floor : HU
        Lowest value that is not padding.
    body
        Soft tissue's share of soft tissue and lung together.
    tissue_peak : HU
        Most frequent value denser than lung; the highest value is left out, where clipped ones collect.
    """
    seen = histogram(voxels, *_LEVELS)
    scanned = without_padding(seen)
    spread = scanned.between(int(_AIR_HU[0]), int(_AIR_HU[1])).counts
    tissue, lung = scanned.number(*_TISSUE_HU), scanned.number(*_LUNG_HU)
    lowest, highest = ends
    return {
        "lowest": lowest,
        "highest": highest,
        "air": float(spread.sum() - (0 if _is_drawn(seen) else spread.max())) / seen.number(),
        "tissue": tissue / seen.number(),
        "below_air": scanned.share(-np.inf, _AIR_HU[0]),
        "dense": scanned.share(_DENSE_HU, np.inf, of=(_BODY_HU, np.inf)),
        "floor": float(scanned.quantile(_LOWEST_SHARE)) if scanned.number() else lowest,
        "body": tissue / max(1, tissue + lung),
        "tissue_peak": _peak(seen.without(seen.quantile(1.0)), _BODY_HU),
    }


def without_padding(seen: Histogram) -> Histogram:
    """What was scanned: the values without up to three that lie alone at the lower end."""
    highest = _PADDING_HU - 1 if _is_drawn(seen) else _PADDING_HU
    for _ in range(_MOST_PADDINGS):
        lowest = seen.quantile(0.0)
        number = seen.number(lowest, lowest)
        above = seen.number(lowest + 1, lowest + _ALONE_HU)
        if lowest > highest or number < _LEAST_PADDED or above > _ALONE_SHARE * number:
            break
        seen = seen.without(lowest)
    return seen


def _is_drawn(seen: Histogram) -> bool:
    return bool(np.count_nonzero(seen.counts > _LOWEST_SHARE * seen.number()) < _LEAST_LEVELS)


def _peak(seen: Histogram, low: float) -> float:
    """The most frequent value above ``low``, smoothed."""
    counts = np.where(seen.values > low, seen.counts, 0)
    smooth = np.convolve(counts, np.ones(_PEAK_WIDTH_HU), "same")
    return float(seen.values[int(smooth.argmax())])


def _no_negative(found: str, _: float) -> InputError:
    return InputError(
        f"{found}, no negative value; HU of a chest has air near -1000. These may be stored values without "
        "their rescale intercept (often -1024; a program gives it as rescale=), a picture stretched to 0..1 "
        f"or to 16 bits, a label map, or MR: {_AGAIN}. A picture in the lung window must have whole values "
        "within 0..255",
        code=3041,
    )


def _no_air(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, but none between {_AIR_HU[0]:g} and {_AIR_HU[1]:g} apart from padding ({share:.2%}); HU "
        "of a chest has air near -1000. The values are shifted (a rescale intercept of -1024 was left out? A "
        f"program gives it as rescale=), scaled, normalised or clipped, or no lung is in the scan: {_AGAIN}",
        code=3041,
    )


def _no_tissue(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, {share:.2%} of them between {_TISSUE_HU[0]:g} and {_TISSUE_HU[1]:g}; a chest in HU has "
        f"soft tissue there. The values are shifted or scaled, or the body around the lungs was blanked out: "
        f"{_AGAIN}, or read it with intensity hu if it is right",
        code=3042,
    )


def _below_air(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, {share:.0%} of what is no padding below {_AIR_HU[0]:g}; nothing is thinner than air at "
        f"-1000 HU. The values are scaled, or an intercept was subtracted twice: {_AGAIN}",
        code=3045,
    )


def _dense(found: str, share: float) -> InputError:
    return InputError(
        f"{found}, and {share:.0%} of all that is denser than lung is above {_DENSE_HU:g}; in a chest that "
        "is bone, a few percent. The values are shifted (a rescale intercept of -1024 was left out?), "
        f"inverted or scaled: {_AGAIN}",
        code=3045,
    )


def _clipped_below(found: str, floor: float) -> InputError:
    return InputError(
        f"{found}, but nothing scanned is below {floor:g}; air in and around a chest is -1000 HU. The values "
        f"were clipped for another program or scaled, so lung and open air look alike: {_AGAIN}",
        code=3044,
    )


def _clipped_above(found: str, highest: float) -> InputError:
    return InputError(
        f"{found}, nothing above {highest:g}; muscle is near 50 HU and bone above 250. The values were "
        f"clipped from above, shifted or scaled: {_AGAIN}",
        code=3044,
    )


def _bone_missing(found: str, highest: float) -> Flag:
    return Flag(
        "hu_clipped_above",
        f"{found}, nothing above {highest:g}, but bone reaches beyond 250 HU: the values were clipped, and "
        f"the network has not learnt from such scans; {_AGAIN}",
    )


def _blanked_out(found: str, share: float) -> InputError:
    return InputError(
        f"{found}; of lung and soft tissue together {share:.1%} are soft tissue, in a chest about half. The "
        "body around the lungs was blanked out, or the values are shifted or scaled: give the whole CT, or "
        "read it with intensity hu if it is right",
        code=3048,
    )


def _body_missing(found: str, share: float) -> Flag:
    return Flag(
        "body_missing",
        f"{found}; of lung and soft tissue together {share:.1%} are soft tissue, in a chest about half: the "
        "body around the lungs is missing. The network then marks rims of healthy lung; give the whole CT",
    )


def _too_high(found: str, _: float) -> InputError:
    return InputError(f"{found}; HU stay below {_HIGHEST_HU:g}: {_AGAIN}", code=3042)


def _shifted(found: str, peak: float) -> Flag:
    return Flag(
        "hu_shifted",
        f"{found}, soft tissue is most often {peak:g} HU, expected fat near -100 or muscle near 50: the "
        "values may be shifted, and infection is then over- or underestimated; compare with the DICOM files",
    )


HU_RULES = (
    Rule("lowest", _no_negative, most=-1e-9),
    Rule("highest", _too_high, most=_HIGHEST_HU),
    Rule("below_air", _below_air, most=0.08),
    Rule("air", _no_air, least=0.005),
    Rule("tissue", _no_tissue, least=0.01, vouched=_body_missing),
    Rule("dense", _dense, most=0.4),
    Rule("floor", _clipped_below, most=-960.0),
    Rule("highest", _clipped_above, least=0.0),
    Rule("body", _blanked_out, least=0.12, vouched=_body_missing),
    Rule("highest", _bone_missing, least=250.0),
    Rule("tissue_peak", _shifted, least=-170.0, most=120.0),
)
"""In the order in which they are looked at: the first says best what happened."""
