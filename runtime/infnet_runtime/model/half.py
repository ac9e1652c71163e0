"""The FP16 form beside a model: whether there is one, of this very model, whose masks passed."""

import logging
from pathlib import Path

from infnet_runtime.errors import ModelError
from infnet_runtime.model.arithmetic import FLOAT16, form_of
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.facts import read_facts
from infnet_runtime.model.judged import judgement
from infnet_runtime.model.manifest_file import manifest_of

logger = logging.getLogger(__name__)

HALF_ENDING = ".fp16.onnx"


def passed_half(plain: Path) -> tuple[Path | None, str]:
    """The FP16 form that a GPU may run in the place of a model.

    Parameters
    ----------
    plain
        The model in single precision, such as ``infnet.onnx``; its form is ``infnet.fp16.onnx`` beside it.

    Returns
    -------
    Its file, and why it is taken; None, and why not. One that is there and not taken is warned of.

    Raises
    ------
    ModelError
        If the form is damaged, or takes its weights from another file than the one beside it.
    """
    path = plain.with_name(plain.stem + HALF_ENDING)
    if not path.is_file():
        return None, f"there is no {path.name}; infnet-export --fp16 --verify VOLUMES makes one"
    content = read_whole(path)
    manifest = manifest_of(path)
    if manifest != manifest_of(plain):
        return _not_taken(path, f"it is a form of {manifest.name} {manifest.version} other than {plain.name}")
    try:
        form, metadata = form_of(content), read_facts(content).metadata
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); copy or export it again", code=4031) from error
    if form != FLOAT16:
        return _not_taken(path, f"it computes in {form}")
    try:
        passed = judgement(metadata, content, manifest, FLOAT16, path)
    except ModelError as error:
        return _not_taken(path, error.args[0])
    return path, f"its masks in FP16 agree by a Dice of {passed.smallest_dice:g} on {passed.scans} scans"


def _not_taken(path: Path, why: str) -> tuple[None, str]:
    logger.warning("%s is not used: %s", path, why)
    return None, f"{path.name} is not used: {why}"
