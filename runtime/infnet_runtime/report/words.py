"""Numbers, and reasons for missing ones, as people read them."""

MINUS = "\N{MINUS SIGN}"
REASONS = {
    "no_voxel_size": "no voxel size",
    "no_hu": "values are no HU",
    "no_lung": "no lung found",
    "no_infection": "no infection",
    "side_unknown": "side not known",
    "outside_the_picture": "outside of the picture",
    "no_reference": "no lung without infection",
    "too_few_slices": "too few slices",
    "lobe_mask_missing": "no lobe mask given",
    "lobe_missing": "lobe not in the mask",
    "flip_not_run": "mirrored slices not looked at",
    "flat_marks_kept": "flat marks not looked for",
    "probability_not_kept": "probabilities not kept",
}
"""Why a number is missing, in words."""
LUNGS = {
    "network": "found by infnet's lung network",
    "threshold": "found by threshold",
    "given": "given with the scan",
    "lobes": "those of the lobes that were given",
    "none": "none were found",
}
"""Where the lungs are from, in words."""


def in_words(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number for people, one digit more below 1; what is not 0 is never written as 0, None as nothing.

    Examples
    --------
    >>> in_words(12.34, "ml"), in_words(0.034), in_words(0.004, "ml"), in_words(0.0, "ml")
    ('12.3 ml', '0.03', '< 0.01 ml', '0 ml')
    """
    if value is None:
        return ""
    if value == 0:
        return f"0 {unit}".rstrip()
    if abs(value) < 1:
        digits += 1
    least = 10.0**-digits
    text = f"{value:.{digits}f}"
    if abs(value) < least / 2:
        text = f"< {least:.{digits}f}" if value > 0 else f"> -{least:.{digits}f}"
    return f"{text} {unit}".rstrip().replace("-", MINUS)


def hu_in_words(value: float) -> str:
    """A density for people."""
    return in_words(value, "HU", 0)
