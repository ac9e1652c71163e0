"""Trained weights read back from an exported ONNX file, into a checkpoint that a training can go on from.

Export folds every batch normalisation into its convolution and merges convolutions that follow one another
(:mod:`~infnet_export.network.inf_net.inference_module`). Here both are undone, as far as the prediction can
tell the difference:

- a convolution gets its normalisation back with the mean and the variance that its output has on some slices;
  scale and shift are what leaves the output as it was. The scale of a kernel in front of a normalisation is
  free, and becomes that of a fresh kernel, so that a step of an optimiser means what it meant;
- of a merged convolution the parts are solved for. The last three of the partial decoder are not unique: the
  last two are drawn by a seed and the first is the smallest kernel that gives the same map;
- what the prediction does not need is not in the file and starts afresh: the edge map's convolution.

The rounding of the stored weights stays. Away from its border the global map, which training has a loss on,
is that of the trained network too.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from infnet_export.graph.onnx_file import manifest_in, read_onnx
from infnet_export.network.inf_net.inference_module import convolution_before
from infnet_export.network.inf_net.normalisations import (
    FRESH,
    fresh_scale,
    is_fresh,
    norms,
    set_statistics,
    statistics,
)
from infnet_runtime.arrays import FloatArray
from infnet_runtime.errors import ModelError
from infnet_runtime.model.manifest import ModelManifest
from infnet_runtime.slices.preprocess import normalise
from infnet_train.data.datasets import load_source
from infnet_train.data.pictures import Turn
from infnet_train.data.source import SourceConfig
from infnet_train.networks import ALL_PARTS, InfNet
from infnet_train.networks.blocks import ReceptiveFieldBlock
from infnet_train.networks.res2net import Bottle2neck
from infnet_train.weights.checkpoint import Checkpoint, write_checkpoint

_LEVELS = ("reverse_attention5", "reverse_attention4", "reverse_attention3")
_SEED = 2020  # of what is drawn
_MOST_SLICES = 48  # of a folder


@dataclass(frozen=True)
class Recovered:
    """A network read back from a file.

    Parameters
    ----------
    network
        In evaluation mode and single precision.
    manifest
        Of the file.
    slices
        On how many slices the statistics of its normalisations were measured; with 0 they are 0 and 1.
    """

    network: InfNet
    manifest: ModelManifest
    slices: int

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Outputs of the file that this network does not give: classes have a head of their own."""
        return tuple(output.name for output in self.manifest.outputs if not output.has_infection)


def recover_weights(path: Path, slices: FloatArray | None = None) -> Recovered:
    """Read an ONNX file of ``infnet-export`` back into a network that can be trained.

    Parameters
    ----------
    path
        The FP32 graph, its weights stored as FP32 or FP16.
    slices : (n, 3, size, size)
        Network input like that of the training. Without it the statistics of the normalisations are 0 and 1:
        the prediction is the same, but a training would begin with a jolt.

    Raises
    ------
    ModelError
        If the file is refused, or is none that ``infnet-export`` made from an Inf-Net in single precision.
    """
    model, _ = read_onnx(path)
    manifest = manifest_in(model, path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    _refuse_other_graphs(model, arrays, path)
    torch.manual_seed(_SEED)
    network = InfNet().double().eval()
    stored = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
    with torch.no_grad():
        try:
            biases = _fill(network, stored)
        except (KeyError, RuntimeError) as error:
            raise ModelError(
                f"{path} lacks a weight of Inf-Net, or has one of another shape: {error}", code=4105
            ) from error
        scales = fresh_scale(network)
        set_statistics(network, biases, scales, statistics(network, biases, scales, slices))
    return Recovered(network.float(), manifest, 0 if slices is None else len(slices))


def measuring_slices(path: Path, folders: list[Path], *, turn: Turn) -> FloatArray:
    """Network input of slices to measure the normalisations on, spread over some folders.

    Parameters
    ----------
    path
        The ONNX file, whose manifest says how slices are prepared.
    folders
        Each with ``Imgs`` and ``GT``.

    Returns
    -------
    (n, 3, size, size), n up to 48 for each folder

    Raises
    ------
    InfnetError
        If the file is refused, or a folder has no slices or one that is refused.
    """
    spec = manifest_in(read_onnx(path)[0], path).preprocess
    grey = []
    for folder in folders:
        loaded = load_source(folder, SourceConfig(name=folder.name, folder=".", turn=turn), spec.size)
        chosen = np.unique(np.linspace(0, len(loaded) - 1, _MOST_SLICES).round().astype(int))
        grey.append(loaded.images[chosen].astype(np.float32) / np.float32(255))
    return normalise(np.concatenate(grey), spec)


def write_recovered(path: Path, recovered: Recovered, source: Path) -> None:
    """Write a checkpoint that ``init_from`` of a recipe and ``infnet-export`` take.

    Parameters
    ----------
    source
        The ONNX file, to be named in the checkpoint.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    state: dict[str, object] = {
        "config": {"preprocess": asdict(recovered.manifest.preprocess), "parts": ALL_PARTS},
        "recovered": {
            "from": source.name,
            "weights_sha256": recovered.manifest.weights_sha256,
            "version": recovered.manifest.version,
            "slices": recovered.slices,
            "fresh": FRESH,
        },
    }
    tensors = {f"weights/{k}": v for k, v in recovered.network.state_dict().items()}
    write_checkpoint(path, Checkpoint(tensors, state))


def _refuse_other_graphs(
    model: onnx.ModelProto, arrays: Mapping[str, npt.NDArray[np.generic]], path: Path
) -> None:
    kinds = {node.op_type for node in model.graph.node}
    if "QuantizeLinear" in kinds or "DequantizeLinear" in kinds:
        raise ModelError(
            f"{path} computes in 8 bit and no longer holds the trained weights; "
            "give the file it was made from",
            code=4105,
        )
    if "backbone.stem.0.weight" not in arrays or "partial_decoder.conv5.weight" not in arrays:
        raise ModelError(
            f"{path} names no weights of Inf-Net; expected an ONNX file that infnet-export made of an "
            "Inf-Net with all its parts. Of another network keep the weights of its run",
            code=4105,
        )


def _fill(network: InfNet, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the kernels into the network; gives the bias that each normalisation has to add, by its name."""
    stored = _unmerged(network, stored)
    biases: dict[str, Tensor] = {}
    kernels = dict(network.named_parameters())
    for norm in norms(network):
        before = convolution_before(norm)
        if is_fresh(norm):
            biases[norm] = torch.zeros_like(kernels[f"{norm}.bias"])
        else:
            _copy(kernels[f"{before}.weight"], stored[f"{before}.weight"])
            biases[norm] = stored[f"{before}.bias"].reshape(-1)
    _copy(kernels["partial_decoder.conv5.bias"], stored["partial_decoder.conv5.bias"])
    _copy(kernels["partial_decoder.conv5.weight"], stored["partial_decoder.conv5.weight"])
    return biases


def _copy(parameter: Tensor, values: Tensor) -> None:
    if parameter.shape != values.shape:
        raise RuntimeError(f"{tuple(values.shape)} where the network has {tuple(parameter.shape)}")
    parameter.copy_(values)


def _unmerged(network: InfNet, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the network, every convolution for itself."""
    names = {name: _plain_name(name) for name in stored}
    weights = {names[name]: value for name, value in stored.items()}
    for name, module in network.named_modules():
        if isinstance(module, Bottle2neck) and module.opens_stage:
            weights |= _shortcut(name, module, weights)
        elif isinstance(module, ReceptiveFieldBlock):
            weights |= _receptive_field(name, weights)
    weights |= _edge_pyramid(weights)
    weights |= _end_of_partial_decoder(network, weights)
    return weights


def _plain_name(name: str) -> str:
    """Name of a weight of a rewritten reverse attention in the network."""
    name = re.sub(r"^(reverse_attention\d)\.level\.reduce\.bias$", r"\1.reduce.conv.bias", name)
    name = re.sub(r"^(reverse_attention\d)\.reduce\.weight$", r"\1.reduce.conv.weight", name)
    return re.sub(r"^(reverse_attention\d)\.level\.", r"\1.", name)


def _shortcut(name: str, block: Bottle2neck, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The last convolution of an opening block, which takes the bias of both, and its projection."""
    inner = block.conv3.in_channels
    both = weights[f"{name}.conv3.weight"]
    last, projection = both[:, :inner], both[:, inner:]
    return {
        f"{name}.conv3.weight": last,
        f"{name}.downsample.1.weight": projection,
        f"{name}.downsample.1.bias": torch.zeros_like(weights[f"{name}.conv3.bias"]),
    }


def _receptive_field(name: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The five 1x1 convolutions of a receptive field block on the wide feature."""
    convolutions = [
        f"{name}.{branch}.conv" for branch in ("branch0.0", "branch1.0", "branch2.0", "branch3.0", "conv_res")
    ]
    kernels = weights[f"{name}.reduce.weight"].chunk(len(convolutions))
    biases = weights[f"{name}.reduce.bias"].chunk(len(convolutions))
    return {f"{c}.weight": k for c, k in zip(convolutions, kernels, strict=True)} | {
        f"{c}.bias": b for c, b in zip(convolutions, biases, strict=True)
    }


def _edge_pyramid(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The third convolution of the edge branch, from its two forms with a mean behind them."""
    whole = weights["edge_attention.level3.weight"]
    shifted = weights["edge_attention.level5.weight"][..., 2:, 2:]
    return {
        "edge_attention.conv3.conv.weight": (_before_mean(whole) + _before_mean(shifted)) / 2,
        "edge_attention.conv3.conv.bias": weights["edge_attention.level3.bias"],
    }


def _before_mean(kernel: Tensor) -> Tensor:
    """The kernel that with the mean of 2 x 2 pixels after it gives ``kernel``, by least squares.

    Parameters
    ----------
    kernel : (out, in, k + 1, k + 1)

    Returns
    -------
    (out, in, k, k)
    """
    n = kernel.shape[-1]
    mean = torch.zeros(n, n - 1, dtype=kernel.dtype)  # along one axis
    index = torch.arange(n - 1)
    mean[index, index] = mean[index + 1, index] = 0.5
    inverse = torch.linalg.pinv(mean)  # (k, k + 1)
    recovered: Tensor = inverse @ kernel @ inverse.T
    return recovered


def _end_of_partial_decoder(network: InfNet, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The last three convolutions of the partial decoder, of which the file holds the product.

    The last two keep their random weights; the first is the solution of least norm.
    """
    decoder = network.partial_decoder
    wanted = _before_mean(weights["partial_decoder.conv5.weight"])[0]  # (1, c, 6, 6) -> (c, 5, 5)
    # (1, m, 1, 1) after (m, n, 3, 3): the map that each channel n of the first convolution is seen through
    seen = torch.einsum("m,mnij->nij", decoder.conv5.weight[0, :, 0, 0], decoder.conv4.conv.weight)
    channels, side = seen.shape[0], seen.shape[-1]
    full = wanted.shape[-1]
    product = torch.zeros(full * full, channels * side * side, dtype=wanted.dtype)
    for i in range(side):
        for j in range(side):  # a pixel of the first kernel puts the map of its channel at (i, j)
            placed = torch.zeros(channels, full, full, dtype=wanted.dtype)
            placed[:, i : i + side, j : j + side] = seen
            product[:, (i * side + j) :: side * side] = placed.reshape(channels, -1).T
    # (c, 25) -> (c, n * 9) -> (n, c, 3, 3)
    first = (wanted.reshape(len(wanted), -1) @ torch.linalg.pinv(product).T).reshape(-1, channels, side, side)
    zeros = torch.zeros(channels, dtype=wanted.dtype)
    return {
        "partial_decoder.conv_concat3.conv.weight": first.transpose(0, 1),
        "partial_decoder.conv_concat3.conv.bias": zeros,
        "partial_decoder.conv4.conv.weight": decoder.conv4.conv.weight.detach(),
        "partial_decoder.conv4.conv.bias": zeros,
        "partial_decoder.conv5.weight": decoder.conv5.weight.detach(),
    }
