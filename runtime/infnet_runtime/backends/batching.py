"""How a batch of any length becomes blocks of the few lengths that a GPU is prepared for.

The block a slice lands in depends on the length of the call alone, never on what ran before, so that the same
call gives the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from infnet_runtime.errors import BackendError


@dataclass(frozen=True)
class Block:
    """Slices ``start`` to ``stop`` of a call, run as a batch of ``length``; what is missing is filled up."""

    start: int
    stop: int
    length: int


def blocks(n: int, lengths: tuple[int, ...]) -> Iterator[Block]:
    """Cut a call of n slices.

    Parameters
    ----------
    lengths
        Batch sizes that are prepared, rising. All blocks have the largest; of the last, the smallest that
        holds it.

    Examples
    --------
    >>> [(b.start, b.stop, b.length) for b in blocks(6, (1, 4))]
    [(0, 4, 4), (4, 6, 4)]
    >>> [(b.start, b.stop, b.length) for b in blocks(1, (1, 4))]
    [(0, 1, 1)]
    """
    for start in range(0, n, lengths[-1]):
        stop = min(start + lengths[-1], n)
        yield Block(start, stop, next(length for length in lengths if stop - start <= length))


def prepared_lengths(wanted: int | None, *, smallest: int, usual: int, largest: int) -> tuple[int, ...]:
    """Batch sizes to prepare for: single slices where the model allows them, and the usual batch.

    Parameters
    ----------
    wanted
        Replaces the usual one.

    Raises
    ------
    BackendError
        If the model does not allow the batch wanted.
    """
    if wanted is not None and not smallest <= wanted <= largest:
        raise BackendError(
            f"batch size {wanted} was asked for, the engine takes {smallest} to {largest}; leave "
            f"--batch-size out, or build the engine again with --batch {min(smallest, wanted)}:{wanted}:"
            f"{max(largest, wanted)}",
            code=5006,
        )
    return tuple(sorted({smallest, wanted or usual}))
