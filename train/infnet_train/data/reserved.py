"""Cases that are kept for a final examination: no shipped model may be trained on an image of them."""

# Parts of the file names, in COVID-SemiSeg, in the volumes' own names and in the enhanced slices.
RESERVED = (
    "27_86410_0",
    "36_86526_0",
    "40_86625_0",
    "coronacases_org_007",
    "coronacases_org_008",
    "coronacases_org_009",
    "coronacases_org_010",
    "coronacases_007",
    "coronacases_008",
    "coronacases_009",
    "coronacases_010",
)


def is_reserved(name: str) -> bool:
    """Whether a slice or volume belongs to a reserved case, by its file name.

    Examples
    --------
    >>> is_reserved("Data-1_coronacases_org_007_3"), is_reserved("Data-1_coronacases_org_001_7")
    (True, False)
    """
    return any(part in name for part in RESERVED)
