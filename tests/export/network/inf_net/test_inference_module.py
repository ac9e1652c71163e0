"""Every rewrite gives the same numbers, in double precision, with fewer operations."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from golden_fill import reference_state
from infnet_export.network.inf_net.inference_module import (
    REWRITES,
    PredictionPath,
    ReducedReverseAttention,
    fold_batch_norms,
    inference_module,
    merge_receptive_fields,
    merge_shortcuts,
    reduce_before_attention,
    simplify_pools,
)
from infnet_export.network.inf_net.merged_convolutions import (
    EdgePyramid,
    composed,
    shrunk_global_map,
    then_shrunk,
)
from infnet_runtime.model.manifest import PreprocessSpec
from infnet_runtime.scan.ct import Intensity
from infnet_runtime.slices.preprocess import to_network
from infnet_train.data.masks import read_labelled
from infnet_train.networks import InfNet
from infnet_train.networks.blocks import ReverseAttention, resize
from infnet_train.weights.reference import load_reference_weights
from infnet_train.weights.trained import TrainedNetwork

pytestmark = pytest.mark.slow  # Inf-Net is built or written again and again


RELATIVE = 1e-12  # of the largest value; double precision in another order of summation
Rewrite = Callable[[InfNet], None]
Operations = tuple[Counter[str], Counter[str]]


@pytest.fixture(scope="module")
def network(trained: TrainedNetwork) -> InfNet:
    return copy.deepcopy(trained.network).double()


@pytest.fixture(scope="module")
def slices() -> Tensor:
    """Random and smooth: white noise drives the logits so high that they hide what is added to them."""
    coarse = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return functional.interpolate(coarse, scale_factor=8, mode="bilinear")


@pytest.fixture(scope="module")
def golden() -> InfNet:
    """The weights of the golden file: nothing damps them, so that the logits are large."""
    network = InfNet().double().eval()
    load_reference_weights(network, reference_state(), source="golden")
    return network


def folded(rewrite: Rewrite) -> Rewrite:
    """A rewrite that needs folded normalisations and simple pools, after them."""

    def both(network: InfNet) -> None:
        fold_batch_norms(network)
        simplify_pools(network)
        rewrite(network)

    return both


ALL_REWRITES = {
    "batch normalisation": fold_batch_norms,
    "pools": simplify_pools,
    "reverse attention": folded(reduce_before_attention),
    "receptive fields": folded(merge_receptive_fields),
    "shortcuts": folded(merge_shortcuts),
}


def rewritten_completely(network: InfNet) -> InfNet:
    rewritten = copy.deepcopy(network)
    for rewrite in REWRITES:
        rewrite(rewritten)
    return rewritten


def distance(network: InfNet, other: InfNet, slices: Tensor) -> float:
    """Of all five outputs, relative to the largest value of each."""
    with torch.no_grad():
        pairs = list(zip(network(slices), other(slices), strict=True))
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("weights", ["random", "golden"])
@pytest.mark.parametrize("name", ALL_REWRITES)
def test_rewrite_is_exact(network: InfNet, golden: InfNet, slices: Tensor, weights: str, name: str) -> None:
    trained = {"random": network, "golden": golden}[weights]
    rewritten = copy.deepcopy(trained)
    ALL_REWRITES[name](rewritten)
    assert distance(trained, rewritten, slices) < RELATIVE


@pytest.mark.parametrize("weights", ["random", "golden"])
def test_the_path_to_the_prediction_is_exact(
    network: InfNet, golden: InfNet, slices: Tensor, weights: str
) -> None:
    trained = {"random": network, "golden": golden}[weights]
    path = PredictionPath(rewritten_completely(trained))
    assert relative(trained(slices).s3, path(slices).prediction) < RELATIVE


@pytest.mark.data
def test_the_path_is_exact_on_real_slices(network: InfNet, data_root: Path) -> None:
    folder = data_root / "covid-semiseg/TestingSet/LungInfection-Test"
    grey = next(iter(read_labelled(folder, "transpose")))[1]
    real = torch.from_numpy(to_network(grey[None], Intensity.WINDOWED, PreprocessSpec(size=128))).double()
    path = PredictionPath(rewritten_completely(network))
    assert relative(network(real).s3, path(real).prediction) < RELATIVE


def relative(expected: Tensor, found: Tensor) -> float:
    assert expected.shape == found.shape
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_and_the_resize_behind_it_are_one(factor: int, kernel: int) -> None:
    torch.manual_seed(factor)
    convolution = nn.Conv2d(3, 5, kernel, padding=kernel // 2).double()
    x = torch.randn(2, 3, 24, 16).double()
    assert relative(resize(convolution(x), 1 / factor), then_shrunk(convolution, factor)(x)) < RELATIVE


def test_two_convolutions_are_one() -> None:
    torch.manual_seed(1)
    first = nn.Conv2d(3, 7, (3, 5), padding=(1, 2)).double()
    second = nn.Conv2d(7, 2, (4, 2), stride=(2, 3)).double()
    x = torch.randn(2, 3, 13, 14).double()
    assert relative(second(first(x)), composed(first, second)(x)) < RELATIVE


def test_padding_between_two_convolutions_is_refused() -> None:
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
    with pytest.raises(
        ValueError, match=r"with stride \(1, 1\) and one with padding \(1, 1\) do not compose"
    ):
        composed(first, second)
    with pytest.raises(ValueError, match="groups or dilation"):
        composed(first, nn.Conv2d(4, 2, 3, dilation=2))


@pytest.mark.parametrize("factor", [1, 3, 0, -2])
def test_an_odd_factor_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match=f"the factor is {factor}, expected an even number"):
        then_shrunk(nn.Conv2d(3, 4, 3, padding=1), factor)


def test_a_convolution_that_changes_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not preserve the size of the image"):
        then_shrunk(nn.Conv2d(3, 4, 3), 2)


@pytest.mark.parametrize("rewrite", [merge_receptive_fields, merge_shortcuts, PredictionPath])
def test_merging_needs_folded_normalisation(network: InfNet, rewrite: Callable[[InfNet], object]) -> None:
    with pytest.raises(ValueError, match="fold the batch normalisation before"):
        rewrite(copy.deepcopy(network))


def test_edge_features_at_three_sizes_are_exact(network: InfNet) -> None:
    folded_network = copy.deepcopy(network)
    fold_batch_norms(folded_network)
    edge = folded_network.edge_attention
    f2 = torch.randn(1, 256, 24, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    features, _ = edge(f2)
    for factor, found in zip((2, 4, 8), EdgePyramid(edge)(f2), strict=True):
        assert relative(resize(features, 1 / factor), found) < RELATIVE


def test_the_shrunk_global_map_is_exact(network: InfNet) -> None:
    folded_network = copy.deepcopy(network)
    fold_batch_norms(folded_network)
    decoder = folded_network.partial_decoder
    random = torch.Generator().manual_seed(6)
    r3, r4, r5 = (torch.randn(2, 32, 2 * k, 3 * k, dtype=torch.float64, generator=random) for k in (4, 2, 1))
    expected = resize(decoder(r3, r4, r5), 0.25)
    assert relative(expected, shrunk_global_map(decoder)(r3, r4, r5)) < RELATIVE


def test_a_slightly_changed_weight_is_not_exact(network: InfNet, slices: Tensor) -> None:
    rewritten = copy.deepcopy(network)
    fold_batch_norms(rewritten)
    with torch.no_grad():
        rewritten.partial_decoder.conv4.conv.weight.mul_(1 + 1e-10)
    assert distance(network, rewritten, slices) > RELATIVE


def test_reverse_attention_alone_is_exact_where_the_bias_is_large() -> None:
    torch.manual_seed(2)
    level = ReverseAttention(48, 16, middle=2, kernel=3, out_kernel=3).double().eval()
    level.reduce.bn = nn.Identity()  # type: ignore[assignment]  # as folding leaves it
    level.reduce.conv.bias = nn.Parameter(torch.full((16,), 7.0, dtype=torch.float64))
    feature, coarser = torch.randn(2, 48, 9, 9).double(), torch.randn(2, 1, 9, 9).double()
    edge = torch.randn(2, 64, 9, 9).double()
    with torch.no_grad():
        expected = level(feature, coarser, edge)
        found = ReducedReverseAttention(level)(feature, coarser, edge)
    assert float((found - expected).abs().max() / expected.abs().max()) < RELATIVE


def test_reverse_attention_needs_folded_normalisation() -> None:
    with pytest.raises(ValueError, match="fold the batch normalisation before"):
        ReducedReverseAttention(ReverseAttention(48, 16, middle=2, kernel=3, out_kernel=3))


def test_the_trained_network_is_left_alone(trained: TrainedNetwork) -> None:
    before = trained.weights_sha256
    module = inference_module(trained.network)
    assert trained.weights_sha256 == before
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert not module.training
    assert {p.dtype for p in module.parameters()} == {torch.float32}


# What each rewrite saves at 64 x 64, counted as PyTorch runs it: calls of the operator, and values it gives.
SAVED = {
    "batch normalisation": ("aten.native_batch_norm.default", 157, None),
    "pools": ("aten.avg_pool2d.default", 1, 64 * 16 * 16),
    # 2048, 1024 and 512 channels become 256, 64 and 64; the decoder's products stay.
    "reverse attention": ("aten.mul.Tensor", 0, 1792 * 2 * 2 + 960 * 4 * 4 + 448 * 8 * 8),
    "receptive fields": ("aten.convolution.default", 3 * 4, 0),
    "shortcuts": ("aten.convolution.default", 4, 256 * 16 * 16 + 512 * 8 * 8 + 1024 * 4 * 4 + 2048 * 2 * 2),
}
FIRST = {"batch normalisation", "pools"}  # the others are compared with the network behind these two


@pytest.mark.parametrize("name", ALL_REWRITES)
def test_rewrite_saves_operations(
    trained: TrainedNetwork, operations_before: dict[bool, Operations], name: str
) -> None:
    after = copy.deepcopy(trained.network)
    ALL_REWRITES[name](after)
    (calls, values), (calls_after, values_after) = operations_before[name in FIRST], operations(after)
    operator, fewer_calls, fewer_values = SAVED[name]
    assert calls[operator] - calls_after[operator] == fewer_calls
    if fewer_values is not None:
        assert values[operator] - values_after[operator] == fewer_values


@pytest.fixture(scope="module")
def operations_before(trained: TrainedNetwork) -> dict[bool, Operations]:
    """Of the network as it is, which the first rewrites take, and folded for the others."""
    prepared = copy.deepcopy(trained.network)
    fold_batch_norms(prepared)
    simplify_pools(prepared)
    return {True: operations(trained.network), False: operations(prepared)}


def test_the_path_to_the_prediction_saves_operations(trained: TrainedNetwork) -> None:
    complete = rewritten_completely(trained.network)
    before, _ = operations(complete)
    after, _ = operations(PredictionPath(complete))
    convolutions, resizes = "aten.convolution.default", "aten.upsample_bilinear2d.default"
    # Gone: the edge map and two of the decoder's last three; the third of the edge branch became three.
    assert before[convolutions] - after[convolutions] == 1
    # Gone: four enlarged maps, and the shrinking of the edge features (3) and of the global map.
    assert before[resizes] - after[resizes] == 8


class _Counted(TorchDispatchMode):
    """Operators as PyTorch runs them: how often, and the number of values that come out."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.values: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        found = func(*args, **(kwargs or {}))
        self.calls[str(func)] += 1
        if isinstance(found, Tensor):
            self.values[str(func)] += math.prod(found.shape)
        return found


def operations(module: nn.Module) -> Operations:
    """Of a slice of 64 pixels; on the device that knows shapes and computes nothing."""
    shapes = copy.deepcopy(module).to("meta")
    with torch.no_grad(), _Counted() as counted:
        shapes(torch.zeros(1, 3, 64, 64, device="meta"))
    return counted.calls, counted.values
