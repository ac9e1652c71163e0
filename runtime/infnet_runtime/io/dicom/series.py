"""The CT series among the files: listed, and one of them chosen, or none.

What is ambiguous is refused with a list. Which of two kernels a user means is known to the user alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from infnet_runtime.errors import InputError
from infnet_runtime.io.dicom.headers import Examined, Image

_LONGEST_LIST = 20


@dataclass(frozen=True)
class Series:
    """One series of one patient.

    Parameters
    ----------
    patient
        Tells patients apart, and is no name.
    """

    patient: str
    study_uid: str
    uid: str
    images: tuple[Image, ...]

    @property
    def name(self) -> str:
        """For messages and reports."""
        return self.uid or "series without a UID"

    @property
    def slices(self) -> int:
        """Planes, also those that are there twice."""
        return sum(one.is_slice for image in self.images for one in image.frames)

    def to_dict(self) -> dict[str, Any]:
        """What a user chooses by; no patient field."""
        first = self.images[0]
        return {
            "series_uid": self.uid,
            "study_uid": self.study_uid,
            "description": first.description,
            "kernel": _all(image.kernel for image in self.images),
            "thickness_mm": _all(_mm(image.thickness_mm) for image in self.images),
            "slices": self.slices,
            "rows": first.stored.rows,
            "columns": first.stored.columns,
            "contrast": first.contrast,
            "files": len(self.images),
            "folder": _folder(self.images),
        }

    def line(self) -> str:
        """The same in one line."""
        facts = self.to_dict()
        uid = self.uid or "without a UID"
        kernel, thickness = facts["kernel"] or "not stated", facts["thickness_mm"] or "not stated"
        return (
            f"series {uid}: {facts['description'] or 'no description'!r}, kernel {kernel}, thickness "
            f"{thickness} mm, {self.slices} slice{'' if self.slices == 1 else 's'}"
        )


def group(images: Iterable[Image]) -> tuple[Series, ...]:
    """Series of images, in the order of patient, study and UID."""
    grouped: dict[tuple[str, str, str], list[Image]] = {}
    for image in images:
        grouped.setdefault((image.patient, image.study_uid, image.series_uid), []).append(image)
    return tuple(Series(*key, tuple(grouped[key])) for key in sorted(grouped))


def choose(examined: Examined, uid: str | None, source: str) -> Series:
    """The one series, or the one that the user names.

    Parameters
    ----------
    uid
        Of the series; the only one where absent.
    source
        Where the files lie, for messages.

    Raises
    ------
    InputError
        If there is none, or it is not certain which one is meant.
    """
    if examined.damaged:
        shown = ", ".join(f"{file.name} ({why})" for file, why in examined.damaged[:_LONGEST_LIST])
        raise InputError(
            f"{source}: {len(examined.damaged)} file{'s' * (len(examined.damaged) > 1)} cannot be read as "
            f"DICOM, and a slice may be among them: {shown}. Copy the series again, or move what does not "
            "belong to it away",
            code=3253,
        )
    found = group(examined.images)
    if not found:
        others = f"; found {examined.others}" if examined.set_aside else "; it is empty"
        raise InputError(
            f"{source} holds no CT series: no CT Image and no Enhanced CT Image{others}. Give the folder of "
            "a CT series in Hounsfield units",
            code=3251,
        )
    if uid is not None:
        named = [one for one in found if one.uid == uid]
        if not named:
            raise InputError(f"{source} has no series {uid}; found {_listed(found)}", code=3254)
        if len(named) > 1:
            raise InputError(
                f"{source}: the series {uid} occurs under {len(named)} patients or studies; give the folder "
                "of one of them",
                code=3252,
            )
        return named[0]
    if len(found) > 1:
        raise InputError(
            f"{source} holds {_how_many(found)}, expected one series: {_listed(found)}. Choose one with "
            "--series UID, or give its folder",
            code=3252,
        )
    return found[0]


def _how_many(found: Sequence[Series]) -> str:
    patients = len({one.patient for one in found})
    studies = len({one.study_uid for one in found})
    parts = [
        f"{count} {what}"
        for count, what in ((patients, "patients"), (studies, "studies"), (len(found), "series"))
        if count > 1
    ]
    return ", ".join(parts)


def _listed(found: Sequence[Series]) -> str:
    more = f"; and {len(found) - _LONGEST_LIST} more" if len(found) > _LONGEST_LIST else ""
    return "; ".join(one.line() for one in found[:_LONGEST_LIST]) + more


def _all(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _folder(images: Sequence[Image]) -> str | None:
    """Where the files lie, where that is one folder."""
    places = {image.file.path if image.file.member else image.file.path.parent for image in images}
    return str(places.pop()) if len(places) == 1 else None
