"""The lungs of a scan, given or found, and what is doubtful about a scan with these lungs.

Thresholds always look first: what a body may be was measured with the lungs they find, and they are the check
of the network (``docs/decisions/0009-lungs-by-a-network.md``).
"""

from dataclasses import replace

from infnet_runtime.arrays import AnyArray, ByteArray
from infnet_runtime.backends.lungs import BATCH_SIZE, LungNetwork
from infnet_runtime.lungs.both_ways import take_from_network
from infnet_runtime.lungs.network import network_labels
from infnet_runtime.lungs.reduced import Reduced
from infnet_runtime.measure.flags import NO_LUNG, Flag, lungs_compared
from infnet_runtime.plausible.doubts import doubts, first_look
from infnet_runtime.scan.ct import CtVolume
from infnet_runtime.scan.lung_mask import LungMask
from infnet_runtime.segment.region import lungs_of


def lungs_and_doubts(
    scan: CtVolume,
    given: LungMask | AnyArray | None,
    network: LungNetwork | None,
    *,
    has_size: bool,
    for_network: bool = True,
    out: ByteArray | None = None,
    reduced: Reduced | None = None,
) -> tuple[LungMask, tuple[Flag, ...]]:
    """Lungs, and the flags of a scan before infection is looked for in them.

    Parameters
    ----------
    given, out, reduced
        As of :func:`~infnet_runtime.segment.region.lungs_of`.
    network
        Finds the lungs where none are given; thresholds alone do where absent.
    has_size, for_network
        As of :func:`~infnet_runtime.plausible.doubts.doubts`.

    Raises
    ------
    InputError
        If the lungs that are given are refused, or the scan cannot be what it is taken for.
    ModelError, BackendError, GateError
        As of :meth:`~infnet_runtime.backends.lungs.LungNetwork.run`.
    """
    lungs, flags = lungs_of(scan, given, out=out, reduced=reduced)
    first = None
    if given is None and network is not None:
        first = first_look(scan, lungs)
        lungs, flags = _by_network(scan, lungs, network)
    more = doubts(scan, lungs, has_size=has_size, for_network=for_network, first=first)
    return lungs, (*flags, *more)


def _by_network(
    scan: CtVolume, by_threshold: LungMask, network: LungNetwork
) -> tuple[LungMask, tuple[Flag, ...]]:
    """Put the network's lungs in the place of those that thresholds found, which are compared with them."""
    found = network_labels(
        scan.to_lps(),
        scan.lps_spacing_mm,
        scan.intensity,
        network.run,
        spec=network.manifest.spec,
        batch_size=BATCH_SIZE,
    )
    differ = take_from_network(found, by_threshold.to_lps())
    lungs = replace(by_threshold, origin="network")
    flags = () if differ is None else lungs_compared(differ.only_threshold, differ.only_network, differ.below)
    return lungs, flags if lungs.labels.any() else (*flags, NO_LUNG)


def lung_model_of(lungs: LungMask, network: LungNetwork | None) -> str:
    """Name, version and hash of what found the lungs, for the report; empty where no network did."""
    if network is None or lungs.origin in ("given", "threshold"):
        return ""
    return f"{network.name}, SHA-256 {network.sha256}"
