"""Cases that no shipped model may be trained on: of a final examination, and those that measure models."""

# Kept for the final examination. Parts of the file names, in COVID-SemiSeg, in the volumes' own names and
# in the enhanced slices.
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

HELD_OUT = (
    "4_85506_1",
    "29_86491_1",
    "29_86490_1",  # another study of the same patient
    "coronacases_org_002",
    "coronacases_org_006",
    "coronacases_002",
    "coronacases_006",
    "LIDC-IDRI-0001",
)
"""Parts of the names of cases that measure a model while it is made, and never train it."""


def is_reserved(name: str) -> bool:
    """Whether a slice or volume belongs to a reserved case, by its file name.

    Examples
    --------
    >>> is_reserved("Data-1_coronacases_org_007_3"), is_reserved("Data-1_coronacases_org_001_7")
    (True, False)
    """
    return any(part in name for part in RESERVED)


def is_held_out(name: str) -> bool:
    """Whether a slice or volume belongs to a case that measures models, by its file name.

    Examples
    --------
    >>> is_held_out("radiopaedia_4_85506_1_012"), is_held_out("Data-1_coronacases_org_001_7")
    (True, False)
    """
    return any(part in name for part in HELD_OUT)
