"""Which scan it is: what a result must name so that it is never taken for another one's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanId:
    """What is known of where a scan comes from; each part only where it is known.

    Parameters
    ----------
    name
        For messages and reports, such as the name of the file.
    sha256
        Of the file.
    study_uid, series_uid, instance_uids
        Of DICOM; the instances in the stored order of the slices.
    """

    name: str
    sha256: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uids: tuple[str, ...] = ()
