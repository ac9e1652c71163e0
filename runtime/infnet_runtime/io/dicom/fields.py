"""Values of a data set, read from the bytes: what cannot be read is no exception and prints no warning."""

import math
import struct
import sys
from typing import Any

from infnet_runtime.io.dicom.library import pydicom


class Fields:
    """Values of a data set of pydicom, or of an item of a sequence, by keyword.

    Parameters
    ----------
    dataset
        As read; its values may still be bytes.
    """

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401 - pydicom is loaded late
        self._dataset = dataset

    def __contains__(self, tag: str) -> bool:
        return tag in self._dataset

    def raw(self, tag: str) -> bytes:
        """The bytes of a value; none where the tag is missing."""
        if tag not in self._dataset:
            return b""
        value = self._dataset.get_item(tag).value
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if value is None:
            return b""
        parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return "\\".join(map(str, parts)).encode("utf-8", "replace")

    def texts(self, tag: str) -> tuple[str, ...]:
        """The parts of a text; letters beyond ASCII as of Latin 1."""
        value = self.raw(tag).decode("latin-1").strip(" \0")
        return tuple(part.strip(" \0") for part in value.split("\\")) if value else ()

    def text(self, tag: str) -> str:
        """A text in one line that every console takes."""
        joined = "\\".join(self.texts(tag))
        # The same UID stands in each of some hundred files.
        return sys.intern("".join(letter if letter.isprintable() else "?" for letter in joined))

    def numbers(self, tag: str) -> tuple[float, ...] | None:
        """Decimal numbers; NaN for a part that is none, None where the tag is missing or empty."""
        parts = self.texts(tag)
        return tuple(map(_number, parts)) if parts else None

    def double(self, tag: str) -> float | None:
        """A number stored in 8 bytes, or as text."""
        element = self._dataset.get_item(tag) if tag in self._dataset else None
        if element is None or element.value is None:
            return None
        if isinstance(element.value, bytes) and len(element.value) == 8 and element.VR in ("FD", None):
            order = "<" if getattr(element, "is_little_endian", True) else ">"
            return float(struct.unpack(f"{order}d", element.value)[0])
        found = self.numbers(tag)
        return found[0] if found else None

    def whole(self, tag: str, *, signed: bool = False) -> int | None:
        """A whole number of two bytes (US, SS), or of text (IS)."""
        element = self._dataset.get_item(tag) if tag in self._dataset else None
        if element is None:
            return None
        if isinstance(element.value, bytes) and element.VR in ("US", "SS", None) and len(element.value) == 2:
            order = "<" if getattr(element, "is_little_endian", True) else ">"
            return int(struct.unpack(f"{order}{'h' if signed else 'H'}", element.value)[0])
        found = self.numbers(tag)
        if not found or not math.isfinite(found[0]) or found[0] != int(found[0]):
            return None
        return int(found[0])

    def items(self, tag: str) -> list["Fields"]:
        """Items of a sequence; none where it is missing or damaged."""
        if tag not in self._dataset:
            return []
        value = self._dataset[tag].value
        return [Fields(item) for item in value] if isinstance(value, pydicom().sequence.Sequence) else []

    def first(self, tag: str) -> "Fields | None":
        """The first item of a sequence."""
        items = self.items(tag)
        return items[0] if items else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
