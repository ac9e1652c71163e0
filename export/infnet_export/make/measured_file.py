"""Measured numbers for a model file that is there already: only the metrics of its manifest change."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from infnet_export.graph.onnx_file import onnx_content, with_metadata
from infnet_runtime.model.borrowed import BORROWED_KEY, Lender, put_together
from infnet_runtime.model.facts import read_metadata
from infnet_runtime.model.manifest import METADATA_KEY
from infnet_runtime.model.recognise import recognised
from infnet_runtime.plain import from_plain


def with_metrics(path: Path, metrics: Mapping[str, float]) -> bytes:
    """The content of a model file with numbers added to its metrics, or in the place of those it had.

    Parameters
    ----------
    path
        An ONNX file of infnet-export; one that takes its weights from a file beside it stays small.
    metrics
        Name to number.

    Raises
    ------
    ModelError
        If the file is refused, or numbers with a meaning cannot be.
    """
    manifest = recognised(onnx_content(path), path).manifest
    manifest = replace(manifest, metrics={**manifest.metrics, **metrics})
    content = with_metadata(path.read_bytes(), METADATA_KEY, manifest.to_json())
    said = read_metadata(content).get(BORROWED_KEY)
    if said is None:
        return content
    lender = from_plain(Lender, json.loads(said), BORROWED_KEY, keys="every")
    lent = path.with_name(lender.file).read_bytes()
    whole = put_together(content, lent, lender.file)
    lender = replace(
        lender, sha256=hashlib.sha256(lent).hexdigest(), whole_sha256=hashlib.sha256(whole).hexdigest()
    )
    return with_metadata(content, BORROWED_KEY, lender.to_json())
