"""The optimiser: schedules as the original code runs them, its state after a resume, the running mean."""

import pytest
import torch
from torch import nn

from infnet_train.config.steps import OptimiserConfig, Schedule
from infnet_train.errors import ConfigError
from infnet_train.run.optimiser import learning_rate, make_optimiser, resume_optimiser, update_running_mean
from infnet_train.weights.checkpoint import flatten_optimiser

CONFIG = OptimiserConfig(weight_decay=0.1)
SGD = OptimiserConfig(optimiser="sgd", momentum=0.7, weight_decay=0.1)
PLAIN_SGD = OptimiserConfig(optimiser="sgd")


def layer(seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def walk(model: nn.Conv2d, optimiser: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        torch.manual_seed(seed)
        model.zero_grad()
        model(torch.randn(2, 4, 6, 6)).square().sum().backward()
        optimiser.step()


def test_compounding_decay_stops_training_at_epoch_52() -> None:
    faithful = Schedule(epochs=99)
    rates = {e: learning_rate(faithful, e, 0, 1) for e in (1, 49, 50, 51, 52, 60, 99)}
    expected = {1: 1e-4, 49: 1e-4, 50: 1e-5, 51: 1e-6, 52: 1e-7, 60: 1e-15, 99: 1e-54}
    assert rates == pytest.approx(expected, rel=1e-9)


def test_other_schedules() -> None:
    step = Schedule(lr_schedule="step")
    assert [learning_rate(step, e, 0, 1) for e in (49, 50, 99)] == pytest.approx([1e-4, 1e-5, 1e-5])
    cosine = Schedule(lr_schedule="cosine", warmup_steps=10)
    rates = [learning_rate(cosine, 1, s, 110) for s in (0, 9, 10, 60, 110)]
    assert rates == pytest.approx([1e-5, 1e-4, 1e-4, 5e-5, 0], abs=1e-12)
    assert learning_rate(Schedule(lr_schedule="constant"), 80, 9, 10) == 1e-4


@pytest.mark.parametrize("saved_by_fused", [True, False])
def test_a_resumed_optimiser_goes_on_as_if_it_had_not_stopped(saved_by_fused: bool) -> None:
    """Also one saved by a version that did not use the fused update."""
    whole = layer()
    optimiser = make_optimiser(whole, CONFIG, 1e-4)
    if not saved_by_fused:
        optimiser = torch.optim.AdamW(whole.parameters(), lr=1e-4, weight_decay=0.1)
    walk(whole, optimiser, range(3))
    half = layer()
    half.load_state_dict(whole.state_dict())
    resumed = make_optimiser(half, CONFIG, 1e-4)
    # As a file gives them back: row-major.
    saved = {k: v.detach().clone().contiguous() for k, v in flatten_optimiser(optimiser).items()}
    resume_optimiser(resumed, saved)
    walk(whole, optimiser, range(3, 6))
    walk(half, resumed, range(3, 6))
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        if saved_by_fused:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("config", [SGD, PLAIN_SGD], ids=["momentum", "plain"])
def test_resumed_gradient_descent_goes_on_as_if_it_had_not_stopped(config: OptimiserConfig) -> None:
    whole = layer()
    optimiser = make_optimiser(whole, config, 1e-3)
    walk(whole, optimiser, range(3))
    half = layer()
    half.load_state_dict(whole.state_dict())
    resumed = make_optimiser(half, config, 1e-3)
    resume_optimiser(resumed, {k: v.clone().contiguous() for k, v in flatten_optimiser(optimiser).items()})
    walk(whole, optimiser, range(3, 6))
    walk(half, resumed, range(3, 6))
    assert all(map(torch.equal, whole.parameters(), half.parameters()))
    assert any(not torch.equal(*pair) for pair in zip(whole.parameters(), layer().parameters(), strict=True))


def test_gradient_descent_has_the_momentum_of_the_released_code() -> None:
    """v <- 0.7 v + g, w <- w - rate v, from the first step on."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    model = nn.Module()
    model.weight = weight
    optimiser = make_optimiser(model, OptimiserConfig(optimiser="sgd", momentum=0.7), 0.1)
    expected, velocity = weight.detach().clone(), torch.zeros(2)
    for gradient in (torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.5]), torch.tensor([0.0, 1.0])):
        weight.grad = gradient
        optimiser.step()
        velocity = 0.7 * velocity + gradient
        expected = expected - 0.1 * velocity
        torch.testing.assert_close(weight.detach(), expected)


def test_a_momentum_belongs_to_gradient_descent() -> None:
    with pytest.raises(
        ConfigError, match=r"INF-3174\] momentum is 0.7 and optimiser is 'adam', which has its"
    ):
        OptimiserConfig(momentum=0.7)
    with pytest.raises(ConfigError, match=r"INF-3101\] momentum is 1.0, expected 0 to 1, below 1"):
        OptimiserConfig(optimiser="sgd", momentum=1.0)


def test_the_running_mean_is_that_of_every_tensor_by_itself() -> None:
    model, averaged = nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    with torch.no_grad():
        model.weight.uniform_(-1, 1)
        model.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    model.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    expected = {k: v.clone() for k, v in averaged.state_dict().items()}
    for step, decay in ((0, 0.1), (1000, 0.9)):  # short memory at the start
        update_running_mean(averaged, model, 0.9, step)
        for name, new in model.state_dict().items():
            old = expected[name]
            expected[name] = old.lerp(new, 1 - decay) if old.is_floating_point() else new
        for name, found in averaged.state_dict().items():
            assert torch.equal(found, expected[name]), name
