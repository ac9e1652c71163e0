"""What a model file was found to bear: precisions other than its own that left masks and millilitres alone.

``infnet-export`` compares masks in another precision with those in single precision, and writes what passed
into the file's metadata under :data:`JUDGED_KEY`. The record names the graph and the outputs it was made for,
so that it says nothing about another graph it may have been copied to. Without a record a file runs in the
precision it has.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.arithmetic import FLOAT16, graph_bytes
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.model.only_outputs import with_only_outputs
from infnet_runtime.plain import from_plain, to_plain, values_of_json

JUDGED_KEY = "infnet.judged"

_NO_MATTER = ("name", "version", "licence", "training_data", "weights_sha256", "created_with", "metrics")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How far masks and millilitres moved in a precision that passed.

    Parameters
    ----------
    scans
        Number of scans that went the whole way from voxels to millilitres in both precisions.
    smallest_dice
        Between the two masks of a scan.
    largest_ml : ml
        By which the infection of a scan moved.
    largest_percent
        The same as a share of the infection of that scan.
    infection_ml : ml
        Infection in all scans together, in single precision.
    reference_sha256
        Subject in single precision that it was compared with, see :func:`subject_of`.
    method
        What computed the masks that were compared.
    """

    scans: int
    smallest_dice: float
    largest_ml: float
    largest_percent: float
    infection_ml: float
    reference_sha256: str
    method: str

    def __post_init__(self) -> None:
        figures = (self.smallest_dice, self.largest_ml, self.largest_percent, self.infection_ml)
        if self.scans < 1 or not all(math.isfinite(f) and f >= 0 for f in figures) or self.smallest_dice > 1:
            raise ValueError(f"{self.scans} scans with figures {figures} cannot be")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What stands in the metadata.

    Parameters
    ----------
    subject_sha256
        Hash of what was judged, see :func:`subject_of`.
    passed
        Precision to its figures.
    """

    subject_sha256: str
    passed: dict[str, Judgement]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(to_plain(self), sort_keys=True, separators=(",", ":"))


def subject_of(content: bytes, manifest: ModelManifest) -> str:
    """Hash of all that masks depend on: the graph with its weights, preprocessing, threshold and temperature.

    Coarse logits are left out: a file may be given them later.

    Raises
    ------
    ValueError
        If the bytes are no ONNX file.
    """
    rules = {key: value for key, value in json.loads(manifest.to_json()).items() if key not in _NO_MATTER}
    found = hashlib.sha256(graph_bytes(with_only_outputs(content, [o.name for o in manifest.outputs])))
    found.update(json.dumps(rules, sort_keys=True).encode())
    return found.hexdigest()


def judgement(
    metadata: dict[str, str], content: bytes, manifest: ModelManifest, precision: str, source: Path
) -> Judgement:
    """The figures of a precision that passed.

    Parameters
    ----------
    metadata, content
        Of the file.
    source
        The file, for messages.

    Raises
    ------
    ModelError
        If the file has no record that this precision passed, or one that cannot be read or belongs to another
        graph.
    """
    advice = f"record it with: infnet-export judge {source} --verify VOLUMES"
    if precision == FLOAT16:
        advice = "make it again with: infnet-export --fp16 --verify VOLUMES"
    text = metadata.get(JUDGED_KEY)
    if text is None:
        raise ModelError(
            f"{source} has no record that its masks stay the same in {precision}; {advice}", code=4060
        )
    try:
        said = values_of_json(text)
        record = from_plain(Record, said, f"the record {JUDGED_KEY} of {source}", keys="every")
    except ValueError as error:
        raise ModelError(
            f"{source} has a record of precisions that cannot be read ({error}); {advice}", code=4061
        ) from error
    if record.subject_sha256 != subject_of(content, manifest):
        raise ModelError(
            f"{source} has a record of precisions that belongs to another graph or to other thresholds; "
            f"{advice}",
            code=4062,
        )
    if precision not in record.passed:
        raise ModelError(
            f"{source} has no record that its masks stay the same in {precision}, only in "
            f"{', '.join(record.passed) or 'none'}; {advice}",
            code=4060,
        )
    return record.passed[precision]
