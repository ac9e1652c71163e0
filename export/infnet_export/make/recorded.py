"""A model file on disk that is judged anew: the verdict goes into the file, the figures beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from infnet_export.graph.onnx_file import onnx_content
from infnet_export.make.in_place import write_all
from infnet_export.make.judged_bf16 import JudgedBf16, check_forms, judge_bf16
from infnet_runtime.io.atomic import check_folder, prepare_folder


def judge_file(
    model: Path,
    reference: Path,
    verify: Sequence[Path],
    target: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> JudgedBf16:
    """Judge a file and write it again with the verdict, and a report beside it.

    Parameters
    ----------
    model, reference
        The file, and the one in single precision that it is compared with.
    verify
        Scans and folders of scans.
    target
        Where the file goes; may be ``model``.
    say
        Told what is done next.

    Returns
    -------
    Written also where it did not pass: then the file has no record, and lost the one that it may have had.

    Raises
    ------
    InfnetError
        As of :func:`~infnet_export.make.judged_bf16.judge_bf16`, or if a place cannot be written.
    """
    check_folder(target.parent)
    content, exact = onnx_content(model), onnx_content(reference)
    check_forms(content, exact, model.name)
    judged = judge_bf16(content, exact, verify, model.name, say=say)
    prepare_folder(target.parent)
    report = target.with_name(f"{target.stem}.bf16.md")
    write_all([(target, judged.content), (report, judged.to_table(target.name).encode())])
    return judged
