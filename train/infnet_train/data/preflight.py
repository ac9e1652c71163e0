"""What is looked at in slices before a network is trained or scored on them, in a second or two.

Before a training it is the slices as they come to the network, so that a folder, a cache and a pack are
looked at alike. Each file has been read and checked by then, once for all runs that share a cache.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infnet_train.data.classes import CONSOLIDATION, GROUND_GLASS, slices_with
from infnet_train.data.datasets import LabelledSlices
from infnet_train.data.pictures import DataError, slices_in
from infnet_train.data.reserved import is_reserved
from infnet_train.data.source import SourceConfig
from infnet_train.data.upright import lie_of, some_of, warn_if_sideways

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
    _warn_of_absent_classes(sources)
    for source, slices in (*sources, *([validation] if validation else [])):
        warn_if_sideways(lie_of(some_of(list(slices.images))), f"source {source.name}", source.turn)
        reserved = sum(is_reserved(name) for name in slices.names)
        if reserved:
            logger.warning(
                "source %s: %d slices of reserved cases; leave them out of any model that is shipped",
                source.name,
                reserved,
            )
    if validation:
        _warn_of_overlap(sources, validation[1])


def look_at_folder(folder: Path) -> None:
    """Say what makes scores mean less than they seem: reserved cases, and slices that count twice.

    Raises
    ------
    DataError
        If there are no slices.
    """
    paths = slices_in(folder)
    reserved = [path.stem for path in paths if is_reserved(path.stem)]
    if reserved:
        logger.warning(
            "%s: %d of %d slices are of reserved cases (%s, ...): they are kept for a last examination, "
            "which says nothing of what was chosen or fitted on them",
            folder,
            len(reserved),
            len(paths),
            reserved[0],
        )
    first: dict[bytes, str] = {}
    twice = [
        (path.stem, first[content])
        for path in paths
        if first.setdefault(content := hashlib.sha256(path.read_bytes()).digest(), path.stem) != path.stem
    ]
    if twice:
        logger.warning(
            "%s: %d of %d slices are there under another name too (%s is %s, ...) and count twice",
            folder,
            len(twice),
            len(paths),
            *twice[0],
        )


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


def _warn_of_absent_classes(sources: Sequence[tuple[SourceConfig, LabelledSlices]]) -> None:
    """Say that a class is in no slice of those that have classes."""
    classified = [
        (source.class_resize, slices.classes) for source, slices in sources if slices.classes is not None
    ]
    for label, name in ((GROUND_GLASS, "ground glass"), (CONSOLIDATION, "consolidation")):
        if classified and not any(slices_with(label, classes, how) for how, classes in classified):
            logger.warning(
                "none of the %d slices with classes has %s: a network cannot learn what it is",
                sum(len(classes) for _, classes in classified),
                name,
            )
