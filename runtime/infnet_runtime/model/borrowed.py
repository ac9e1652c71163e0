"""A small model file that takes its large weights from another file of the same network beside it.

The FP16 form has the weights that ``infnet.onnx`` stores in half precision already, so that it need not bring
them again: 2 MB in place of 62. Nothing is loaded by a path that a library reads: the two files are put
together in memory, byte for byte the whole file that would have been written, and its hash, which the small
file names, is checked. Such a file says what it borrows in its metadata under :data:`BORROWED_KEY`; any other
file that keeps weights elsewhere is refused as before. The field numbers are those of ``onnx.proto``.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from infnet_runtime.errors import ModelError
from infnet_runtime.model.protobuf import message, numbers, parts, spans, text
from infnet_runtime.plain import from_plain, to_plain, values_of_json

BORROWED_KEY = "infnet.weights"

_GRAPH, _METADATA = 7, 14  # of a model
_WEIGHT = 5  # of a graph
_RAW, _ELSEWHERE, _LOCATION = 9, 13, 14  # of a weight
_KEY, _VALUE = 1, 2  # of an entry of metadata, and of what is said of a weight


@dataclass(frozen=True, kw_only=True)
class Lender:
    """Where the weights are that a file does not bring.

    Parameters
    ----------
    file
        Name of the other file, in the same folder.
    sha256
        Of it.
    whole_sha256
        Of both put together.
    """

    file: str
    sha256: str
    whole_sha256: str

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(to_plain(self), sort_keys=True, separators=(",", ":"))


def read_whole(path: Path) -> bytes:
    """What a model file holds, with what it borrows put in its place.

    Raises
    ------
    OSError
        If the file cannot be read.
    ModelError
        If the other file is not there, or is another one, or what is said of it cannot be.
    """
    content = path.read_bytes()
    try:
        said = _said(content)
    except ValueError:
        return content  # no ONNX file; whoever reads on says what it is
    if said is None:
        return content
    lender = _lender(said, path)
    beside = path.with_name(lender.file)
    try:
        lent = beside.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} takes its weights from {lender.file} beside it, which cannot be read "
            f"({error.strerror or error}); copy both into one folder, or give the whole file that "
            "infnet-export --fp16 writes",
            code=4067,
        ) from error
    try:
        whole = put_together(content, lent, lender.file)
    except ValueError as error:
        raise _damaged(path, error) from error
    if hashlib.sha256(whole).hexdigest() != lender.whole_sha256:
        found = hashlib.sha256(lent).hexdigest()
        raise ModelError(
            f"{path} was made for another {lender.file} than the one beside it (sha256 {found[:12]}, "
            f"expected {lender.sha256[:12]}), or is damaged; make it again: infnet-export {beside} -o "
            f"{path.parent} --fp16 --borrow",
            code=4068,
        )
    return whole


def borrows(content: bytes) -> bool:
    """Whether a file says that it takes weights from another one.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    return _said(content) is not None


def put_together(content: bytes, lent: bytes, name: str) -> bytes:
    """The whole file.

    Parameters
    ----------
    content
        Of the small file.
    lent, name
        Content and name of the other one; weights that are said to be in any other file stay as they are.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file, or a weight is said to lie outside the other file.
    """
    kept: list[bytes | memoryview] = []
    for number, value, span in spans(memoryview(content)):
        if number == _GRAPH and isinstance(value, memoryview):
            kept += message(_GRAPH, _graph(value, memoryview(lent), name))
        elif number != _METADATA or not isinstance(value, memoryview) or text(value, _KEY) != BORROWED_KEY:
            kept.append(span)
    return b"".join(kept)


def _graph(graph: memoryview, lent: memoryview, name: str) -> list[bytes | memoryview]:
    kept: list[bytes | memoryview] = []
    for number, value, span in spans(graph):
        if number == _WEIGHT and isinstance(value, memoryview) and (place := _place(value, name)):
            kept += message(_WEIGHT, _weight(value, _lent(lent, *place)))
        else:
            kept.append(span)
    return kept


def _place(weight: memoryview, name: str) -> tuple[int, int] | None:
    """Where a weight begins in the other file, and its bytes; None where it is not there."""
    if not any(numbers(weight, _LOCATION)):
        return None
    said = {text(entry, _KEY): text(entry, _VALUE) for entry in parts(weight, _ELSEWHERE)}
    if said.get("location") != name:
        return None
    return int(said.get("offset", "")), int(said.get("length", ""))


def _lent(lent: memoryview, offset: int, length: int) -> memoryview:
    if offset < 0 or length <= 0 or offset + length > len(lent):
        raise ValueError(f"weights at {offset} to {offset + length}, the file ends at {len(lent)}")
    return lent[offset : offset + length]


def _weight(weight: memoryview, raw: memoryview) -> list[bytes | memoryview]:
    """A weight with its bytes inside, the fields in the order of their numbers, as they are written."""
    fields = [(number, span) for number, _, span in spans(weight) if number not in (_ELSEWHERE, _LOCATION)]
    before = [span for number, span in fields if number < _RAW]
    after = [span for number, span in fields if number > _RAW]
    return [*before, *message(_RAW, [raw]), *after]


def _said(content: bytes) -> str | None:
    entries = parts(memoryview(content), _METADATA)
    return next((text(entry, _VALUE) for entry in entries if text(entry, _KEY) == BORROWED_KEY), None)


def _lender(said: str, path: Path) -> Lender:
    try:
        lender = from_plain(Lender, values_of_json(said), f"{BORROWED_KEY} of {path}", keys="every")
        name = lender.file
        is_plain = name == PurePosixPath(name).name == PureWindowsPath(name).name
        if not is_plain or not name.endswith(".onnx") or name == path.name:
            raise ValueError(f"it names {name!r}, expected another .onnx file of the same folder")
    except ValueError as error:
        raise _damaged(path, error) from error
    return lender


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"what {path} says of the weights that it takes from another file cannot be right ({error}); make it "
        "again with infnet-export --fp16 --borrow",
        code=4069,
    )
