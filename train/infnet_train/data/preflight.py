"""What is looked at in the slices of a run before it trains, in a second or two.

It looks at the slices as they come to the network, so that a folder, a cache and a pack are looked at alike.
Each file has been read and checked by then, once for all runs that share a cache.
"""

import logging
from collections.abc import Sequence

import numpy as np

from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.pictures import DataError
from infnet_train.data.reserved import is_reserved
from infnet_train.data.source import SourceConfig
from infnet_train.data.upright import LOOKED_AT, lie_of, warn_if_sideways

logger = logging.getLogger(__name__)


def look_at(
    sources: Sequence[tuple[SourceConfig, LabelledSlices]],
    validation: tuple[SourceConfig, LabelledSlices] | None,
) -> None:
    """Refuse a run that has nothing to learn, and say what is probably meant otherwise.

    Raises
    ------
    DataError
        If no slice of any source has infection.
    """
    if not any(slices.masks.any() for _, slices in sources):
        raise DataError(
            f"all {sum(len(slices) for _, slices in sources)} masks of the sources are empty, expected "
            "infection in some; look at the masks, and at min_fraction and inside_lungs of the sources, "
            "which drop labels",
            code=3147,
        )
    for source, slices in (*sources, *([validation] if validation else [])):
        some = slices.images[:: max(1, len(slices) // LOOKED_AT)][:LOOKED_AT]
        warn_if_sideways(lie_of(some), f"source {source.name}", source.turn)
        reserved = sum(is_reserved(name) for name in slices.names)
        if reserved:
            logger.warning(
                "source %s: %d slices of reserved cases; leave them out of any model that is shipped",
                source.name,
                reserved,
            )
    if validation:
        _warn_of_overlap(sources, validation[1])


def empties(slices: LabelledSlices) -> int:
    """Number of slices without infection."""
    return int(np.count_nonzero(~slices.masks.any(axis=(1, 2))))


def _warn_of_overlap(
    sources: Sequence[tuple[SourceConfig, LabelledSlices]], validation: LabelledSlices
) -> None:
    trained = {image.tobytes() for _, slices in sources for image in slices.images}
    both = [
        name
        for name, image in zip(validation.names, validation.images, strict=True)
        if image.tobytes() in trained
    ]
    if both:
        logger.warning(
            "%d of %d slices of the validation are training slices too (%s, ...): its Dice measures nothing; "
            "take other patients for the validation",
            len(both),
            len(validation),
            both[0],
        )
