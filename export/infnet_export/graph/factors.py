"""Resizes by a factor that stands in the graph, in the place of a size that the graph computes.

A network that resizes a map to the size of another leaves arithmetic on shapes in its graph, although all but
the number of slices is fixed. Where the factor is exact in single precision, both give the same pixels.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

_SCALES, _SIZES = 2, 3  # inputs of the operator


def state_factors(model: ir.Model) -> None:
    """Give every resize of maps its factors where they are exact, in place; what computed the sizes goes.

    A resize to the size that a map has goes too.

    Parameters
    ----------
    model
        With the shapes of its tensors, as PyTorch's exporter knows them.
    """
    for node in list(model.graph):
        if node.op_type != "Resize" or len(node.inputs) <= _SIZES or node.inputs[_SIZES] is None:
            continue
        small, large = node.inputs[0], node.outputs[0]
        assert small is not None
        factors = _factors(_pixels(small), _pixels(large))
        if factors is None:
            continue
        if factors == [1, 1] and not large.is_graph_output():
            ir.convenience.replace_all_uses_with(large, small)
            continue
        scales = np.array([1, 1, *factors], np.float32)
        name = f"{large.name}_factors"
        value = ir.Value(name=name, const_value=ir.tensor(scales, name=name))
        model.graph.register_initializer(value)
        node.replace_input_with(_SCALES, value)
        node.replace_input_with(_SIZES, None)
    common.RemoveUnusedNodesPass()(model)


def _pixels(value: ir.Value) -> tuple[int, ...] | None:
    """Rows and columns of a map, where they are known."""
    if value.shape is None or len(value.shape) != 4:
        return None
    pixels = tuple(size for size in value.shape[2:] if isinstance(size, int))
    return pixels if len(pixels) == 2 else None


def _factors(small: Sequence[int] | None, large: Sequence[int] | None) -> list[float] | None:
    """Exact factors along rows and columns, or None.

    Examples
    --------
    >>> _factors((44, 11), (352, 22)), _factors((44, 44), (22, 11))
    ([8.0, 2.0], [0.5, 0.25])
    >>> _factors((21, 44), (44, 88)), _factors(None, (2, 2))
    (None, None)
    """
    if small is None or large is None:
        return None
    factors = [float(np.float32(b / a)) for a, b in zip(small, large, strict=True)]
    exact = all(Fraction(f) * a == b for f, a, b in zip(factors, small, large, strict=True))
    return factors if exact else None
