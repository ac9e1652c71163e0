"""Weight files of others: the authors' checkpoints and ImageNet Res2Net-50 weights, under our names.

Only tensors are read (``weights_only=True``); a file that asks for anything else is refused.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from infnet_runtime.errors import ModelError
from infnet_train.networks import InfNet, Network, NetworkConfig
from infnet_train.networks.multi_class_unet import MultiClassUNet
from infnet_train.networks.res2net import Res2Net50
from infnet_train.weights.checkpoint import read_checkpoint

_LAST_CONV_OF_LEVEL = {"4": "5", "3": "4", "2": "4"}
_OF_DOUBLE_CONV = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}
_CLASSES_BY_OURS = (2, 0, 1)
"""Where background, ground glass and consolidation are in the authors' U-Net: its background comes last."""


def reference_name(name: str) -> str:
    """Name in the authors' files of one of our ``InfNet`` entries.

    The authors count backbone features from 1 (x1..x4), the paper from 2 (f2..f5), hence the shift by one.

    Examples
    --------
    >>> reference_name("rfb5.conv_res.bn.bias")
    'rfb4_1.conv_res.bn.bias'
    >>> reference_name("reverse_attention4.out.conv.weight")
    'ra3_conv4.conv.weight'
    """
    module, rest = name.split(".", 1)
    if module == "backbone":
        return f"resnet.{backbone_reference_name(rest)}"
    if module == "partial_decoder":
        return f"ParDec.{rest}"
    if module == "edge_attention":
        return f"edge_{rest}"
    level = str(int(module[-1]) - 1)
    if module.startswith("rfb"):
        return f"rfb{level}_1.{rest}"
    part, leaf = rest.split(".", 1)  # reverse attention: reduce | middle.<i> | out
    if part == "reduce":
        return f"ra{level}_conv1.{leaf}"
    if part == "out":
        return f"ra{level}_conv{_LAST_CONV_OF_LEVEL[level]}.{leaf}"
    index, leaf = leaf.split(".", 1)
    return f"ra{level}_conv{int(index) + 2}.{leaf}"


def backbone_reference_name(name: str) -> str:
    """Name in the published ImageNet file of one of our ``Res2Net50`` entries.

    Examples
    --------
    >>> backbone_reference_name("stem.0.weight"), backbone_reference_name("stem_bn.bias")
    ('conv1.0.weight', 'bn1.bias')
    """
    return re.sub(r"^stem_bn\.", "bn1.", re.sub(r"^stem\.", "conv1.", name))


def read_reference_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.pth`` file, on the CPU, without ``module.`` prefixes.

    Raises
    ------
    ModelError
        If the file is missing, is no PyTorch file, or holds anything but a dictionary of tensors.
    """
    if not path.is_file():
        raise ModelError(f"no weight file at {path}", code=4001)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path} is not a plain PyTorch weight file ({_first_line(error)}); "
            "expected a state_dict saved with torch.save",
            code=4002,
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(
            f"{path} holds {type(state).__name__}, expected a dictionary of tensors (a bare "
            "state_dict); save it with torch.save(model.state_dict(), path)",
            code=4002,
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def read_reference_network(path: Path) -> tuple[Network, NetworkConfig]:
    """Read one of the authors' two networks, in evaluation mode, from a file in their layout.

    Returns
    -------
    The network, and which one it is.

    Raises
    ------
    ModelError
        As :func:`read_reference_state`, :func:`load_reference_weights` and :func:`load_reference_unet`.
    """
    state = read_reference_state(path)
    if any(name.startswith("inc.double_conv.") for name in state):
        unet = MultiClassUNet().eval()
        load_reference_unet(unet, state, source=str(path))
        return unet, NetworkConfig(network="multi-class-unet", labels="classes", prior=True)
    network = InfNet().eval()
    load_reference_weights(network, state, source=str(path))
    return network, NetworkConfig()


def unet_reference_name(name: str) -> str:
    """Name in the authors' ``unet_model_200.pkl`` of one of our ``MultiClassUNet`` entries.

    Examples
    --------
    >>> unet_reference_name("down.1.bn2.weight"), unet_reference_name("up.0.conv1.bias")
    ('down1.maxpool_conv.1.double_conv.4.weight', 'up1.conv.double_conv.0.bias')
    """
    part, rest = name.split(".", 1)
    if part == "head":
        return f"outc.conv.{rest}"
    number, layer, leaf = rest.split(".")
    inside = f"double_conv.{_OF_DOUBLE_CONV[layer]}.{leaf}"
    if part == "up":
        return f"up{int(number) + 1}.conv.{inside}"
    return f"inc.{inside}" if number == "0" else f"down{number}.maxpool_conv.1.{inside}"


def load_reference_unet(model: MultiClassUNet, state: Mapping[str, Tensor], *, source: str) -> None:
    """Fill ``model`` from a state_dict in the layout of the authors' ``unet_model_200.pkl``.

    Its channels are ground glass, consolidation and background (reference code, not the paper); they get our
    order. ``num_batches_tracked`` may be missing.

    Parameters
    ----------
    source
        Where ``state`` came from, for messages.

    Raises
    ------
    ModelError
        If entries are missing, unknown, or of another shape.
    """
    names = {name: unet_reference_name(name) for name in model.state_dict()}
    _load_renamed(model, names, state, ignored="$", source=source)
    with torch.no_grad():
        for tensor in (model.head.weight, model.head.bias):
            assert tensor is not None
            tensor.copy_(tensor[list(_CLASSES_BY_OURS)].clone())


def load_reference_weights(model: InfNet, state: Mapping[str, Tensor], *, source: str) -> None:
    """Fill ``model`` from a state_dict in the layout of the authors' ``Inf-Net-100.pth``.

    The unused classifier (``resnet.fc``) may be present or absent, and ``num_batches_tracked`` may be
    missing, as in files of old PyTorch versions.

    Parameters
    ----------
    source
        Where ``state`` came from, for messages.

    Raises
    ------
    ModelError
        If entries are missing, unknown, or of another shape.
    """
    names = {name: reference_name(name) for name in model.state_dict()}
    _load_renamed(model, names, state, ignored=r"resnet\.fc\.", source=source)


def fill_backbone(network: Network, path: Path) -> None:
    """Fill the backbone of a network from a file of ImageNet weights, or from a checkpoint of infnet.

    Raises
    ------
    ModelError
        If the network or the checkpoint has another backbone, or as :func:`read_reference_state`,
        :func:`~infnet_train.weights.checkpoint.read_checkpoint` and :func:`load_backbone_weights`.
    """
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, Res2Net50):
        raise ModelError(
            f"{path} holds weights of a Res2Net-50, the network has none; leave --backbone-weights out",
            code=4003,
        )
    of_infnet = path.suffix.lower() == ".safetensors"
    state = _backbone_of_checkpoint(path) if of_infnet else read_reference_state(path)
    load_backbone_weights(backbone, state, source=str(path))


def _backbone_of_checkpoint(path: Path) -> dict[str, Tensor]:
    """What a checkpoint holds of a backbone, under the names of the published file."""
    prefix = "backbone."
    found = {
        backbone_reference_name(name.removeprefix(prefix)): tensor
        for name, tensor in read_checkpoint(path).group("weights").items()
        if name.startswith(prefix)
    }
    if not found:
        raise ModelError(
            f"{path} holds no backbone, expected a checkpoint of a network with one; give the "
            "weights.safetensors of an Inf-Net, or what 'infnet-export weights' reads from its model file",
            code=4003,
        )
    return found


def load_backbone_weights(backbone: Res2Net50, state: Mapping[str, Tensor], *, source: str) -> None:
    """Fill the backbone from published ImageNet Res2Net-50 v1b 26w4s weights (``fc`` is skipped).

    Raises
    ------
    ModelError
        If entries are missing, unknown, or of another shape.
    """
    names = {name: backbone_reference_name(name) for name in backbone.state_dict()}
    _load_renamed(backbone, names, state, ignored=r"fc\.", source=source)


def _load_renamed(
    module: nn.Module,
    names: Mapping[str, str],
    state: Mapping[str, Tensor],
    *,
    ignored: str,
    source: str,
) -> None:
    own = module.state_dict()
    counters = {ours for ours in names if ours.endswith("num_batches_tracked")}
    missing = [ref for ours, ref in names.items() if ref not in state and ours not in counters]
    unknown = [ref for ref in state if ref not in set(names.values()) and not re.match(ignored, ref)]
    if missing or unknown:
        raise ModelError(
            f"{source} has {len(state)} entries, {sum(ref in state for ref in names.values())} of the "
            f"{len(names)} expected; missing e.g. {missing[:3]}, unknown e.g. {unknown[:3]}; "
            f"expected {_EXPECTED[type(module)]} weights in the authors' layout",
            code=4003,
        )
    wrong = {
        ref: (tuple(state[ref].shape), tuple(own[ours].shape))
        for ours, ref in names.items()
        if ref in state and state[ref].shape != own[ours].shape
    }
    if wrong:
        ref, (found, expected) = next(iter(wrong.items()))
        raise ModelError(
            f"{source}: {ref} has shape {found}, expected {expected} ({len(wrong)} entries differ)",
            code=4003,
        )
    module.load_state_dict({ours: state.get(ref, own[ours]) for ours, ref in names.items()})


_EXPECTED: dict[type[nn.Module], str] = {
    InfNet: "Res2Net-50 v1b (26w4s) Inf-Net",
    Res2Net50: "Res2Net-50 v1b (26w4s)",
    MultiClassUNet: "multi-class U-Net",
}


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
