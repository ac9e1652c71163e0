"""torch.compile where it works, the network itself where it does not."""

import logging

import pytest
import torch
from torch import nn

from infnet_train.machine.compiled import CompiledOrPlain


def refuse(*_: object) -> None:
    raise RuntimeError("no compiler here\nand more")


@pytest.mark.parametrize("when", ["at once", "at the first batch"])
def test_a_failure_is_logged_and_the_network_goes_on(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", refuse if when == "at once" else lambda network: refuse)
    network = nn.Linear(3, 2)
    with caplog.at_level(logging.WARNING):
        compiled = CompiledOrPlain(network)
        x = torch.rand(4, 3)
        for _ in range(2):
            assert torch.equal(compiled(x), network(x))
    (record,) = caplog.records
    message = "torch.compile does not work here (no compiler here); the network runs without it"
    assert record.getMessage() == message


def test_what_is_compiled_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network: lambda x: network(x) + 1)
    network = nn.Linear(3, 2)
    x = torch.rand(4, 3)
    assert torch.equal(CompiledOrPlain(network)(x), network(x) + 1)
