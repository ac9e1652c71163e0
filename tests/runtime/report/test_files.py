from pathlib import Path

import pytest

from infnet_runtime.report.files import SCHEMA, earlier_result, is_result


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"3", b"[" * 200_000, b'{"a":' * 100_000, b'{"schema": "another"}'],
    ids=["empty", "no text", "a number", "brackets", "braces", "another schema"],
)
def test_a_file_that_is_only_called_like_a_report_is_none(content: bytes, tmp_path: Path) -> None:
    """Folders that are searched may hold any of them."""
    path = tmp_path / "ct.infnet.json"
    path.write_bytes(content)
    assert earlier_result(path) is None
    assert not is_result(path)
    assert not is_result(tmp_path / "ct.infection.nii.gz")


def test_a_report_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "ct.infnet.json"
    path.write_text(
        f'{{"schema": "{SCHEMA}", "input": {{"file": "ct.nii.gz", "shape": [1, 2, 3]}}, '
        '"outputs": {"mask": "ct.infection.nii.gz"}}'
    )
    found = earlier_result(path)
    assert found is not None
    assert found.shape == (1, 2, 3)
    assert is_result(tmp_path / "ct.infection.nii.gz")
