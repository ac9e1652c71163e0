"""The series of a DICOM folder, for machines and for people."""

import json
from collections.abc import Sequence

from infnet_runtime.io.dicom.headers import Examined
from infnet_runtime.io.dicom.series import Series
from infnet_runtime.report.files import printable

SERIES_SCHEMA = "infnet.series/1"


def series_json(found: Sequence[Series], examined: Examined) -> str:
    """All series and what lies beside them, as one line of JSON without patient fields."""
    document = {
        "schema": SERIES_SCHEMA,
        "series": [one.to_dict() for one in found],
        "set_aside": dict(examined.set_aside),
        "damaged": [{"file": printable(file.name), "reason": why} for file, why in examined.damaged],
    }
    return json.dumps(document, allow_nan=False)


def series_text(found: Sequence[Series], examined: Examined) -> str:
    """A line for each series, study by study; then what was left out."""
    lines = []
    for number, study in enumerate(dict.fromkeys((one.patient, one.study_uid) for one in found), start=1):
        lines.append(f"study {number} ({study[1] or 'without UID'})")
        lines += [f"  {one.line()}" for one in found if (one.patient, one.study_uid) == study]
    if not found:
        lines.append("no CT series")
    if examined.set_aside:
        lines.append(f"left out: {examined.others}")
    lines += [f"cannot be read: {file.name} ({why})" for file, why in examined.damaged]
    return printable("\n".join(lines))
