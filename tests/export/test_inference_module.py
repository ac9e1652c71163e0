"""Every rewrite gives the same numbers, in double precision, with fewer operations."""

import copy
import math
import warnings
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from infnet_export.inference_module import (
    InferenceModule,
    ReducedReverseAttention,
    fold_batch_norms,
    inference_module,
    reduce_before_attention,
    simplify_pools,
)
from infnet_export.trained import TrainedNetwork
from infnet_train.model import InfNet
from infnet_train.model.blocks import ReverseAttention

RELATIVE = 1e-12  # of the largest value; double precision in another order of summation
Rewrite = Callable[[InfNet], None]


@pytest.fixture(scope="module")
def network(trained: TrainedNetwork) -> InfNet:
    return copy.deepcopy(trained.network).double()


@pytest.fixture(scope="module")
def slices() -> Tensor:
    """Random and smooth: white noise drives the logits so high that they hide what is added to them."""
    coarse = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return functional.interpolate(coarse, scale_factor=8, mode="bilinear")


def fold_and_reduce(network: InfNet) -> None:
    fold_batch_norms(network)
    reduce_before_attention(network)


def distance(network: InfNet, other: InfNet, slices: Tensor) -> float:
    """Of all five outputs, relative to the largest value of each."""
    with torch.no_grad():
        pairs = list(zip(network(slices), other(slices), strict=True))
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("rewrite", [fold_batch_norms, simplify_pools, fold_and_reduce])
def test_rewrite_is_exact(network: InfNet, slices: Tensor, rewrite: Rewrite) -> None:
    rewritten = copy.deepcopy(network)
    rewrite(rewritten)
    assert distance(network, rewritten, slices) < RELATIVE


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


def test_fewer_operations(trained: TrainedNetwork) -> None:
    before, multiplied_before = traced_operations(InferenceModule(trained.network).eval())
    after, multiplied_after = traced_operations(inference_module(trained.network))
    norms = "aten.batch_norm.default"
    assert (before[norms], after[norms]) == (157, 0)
    pools = "aten.avg_pool2d.default"
    assert (before[pools], after[pools]) == (8, 7)
    assert sum(after.values()) < sum(before.values())
    # 2048, 1024 and 512 channels become 256, 64 and 64; the decoder's products stay.
    assert multiplied_before - multiplied_after == (1792 * 2 * 2 + 960 * 4 * 4 + 448 * 8 * 8)


def traced_operations(module: nn.Module) -> tuple[Counter[str], int]:
    """Operators as PyTorch runs them, and the number of values that come out of multiplications."""
    with warnings.catch_warnings():
        # PyTorch 2.13 warns about its own use of a name it deprecates.
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        graph = torch.export.export(module, (torch.zeros(1, 3, 64, 64),)).graph
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    multiplied = sum(math.prod(n.meta["val"].shape) for n in nodes if str(n.target) == "aten.mul.Tensor")
    return Counter(str(node.target) for node in nodes), multiplied
