import pytest

from infnet_runtime.cli.progress import ProgressBar


@pytest.mark.parametrize("show", [False, True])
def test_the_bar_is_drawn_on_stderr_or_not_at_all(show: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(show, "runs") as progress:
        progress(1, 3)
        progress(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert bool(captured.err) == show
