"""The position in the image of each position of a feature map."""

from dataclasses import dataclass
from fractions import Fraction

import tensorflow as tf

from tfsegkd.graph.layer_spec import inherited
from tfsegkd.graph.nodes import Graph, Node


@dataclass(frozen=True)
class Grid:
    """Along one axis, position j lies at pixel `first` + j · `stride`.

    Args:
        stride: In pixels.
        first: The place of the first position, in pixels; 0 is the middle of the first one.
    """

    stride: Fraction
    first: Fraction

    def moved(self, positions) -> "Grid":
        """The grid that begins `positions` later."""
        return Grid(self.stride, self.first + positions * self.stride)


def output_grids(graph: Graph) -> tuple[Grid, Grid] | None:
    """The grids of a network's output along height and width; None where a layer is not known.

    Args:
        graph: Of one image input and one output.
    """
    (images,), (output,) = tf.nest.flatten(graph.inputs), tf.nest.flatten(graph.outputs)
    start = Grid(Fraction(1), Fraction(0))
    grids: dict[int, tuple[Grid, Grid] | None] = {images.id: (start, start)}
    for node in graph.nodes:
        if node.outputs[0].id in grids:
            continue
        found = _grids(node, [grids.get(tensor.id) for tensor in node.inputs])
        grids.update((tensor.id, found) for tensor in node.outputs)
    return grids[output.id]


def _grids(node: Node, given):
    # What is joined lies on one grid, if the network is to make sense; the first says which.
    first = next((grids for grids in given if grids is not None), None)
    if first is None or len(node.outputs[0].shape) != 4 or len(node.inputs[0].shape) != 4:
        return None
    if node.outputs[0].shape[1:3] == (1, 1):
        return None  # it is everywhere, so it has no position
    rule = inherited(node.layer).grid
    if rule is not None:
        if given[0] is None:
            return None
        sizes = list(zip(node.inputs[0].shape[1:3], node.outputs[0].shape[1:3], strict=True))
        return tuple(rule(node.layer, axis, given[0][axis], *sizes[axis]) for axis in (0, 1))
    kept = [
        grids
        for tensor, grids in zip(node.inputs, given, strict=True)
        if grids is not None and tensor.shape[1:3] == node.outputs[0].shape[1:3]
    ]
    return kept[0] if kept else None


# The rules of the table: what a layer makes of the grid of its input, along an axis of `before` positions of
# which it makes `after`.


def _pair(value) -> tuple:
    return tuple(value) if isinstance(value, list | tuple) else (value, value)


def window(layer, axis, grid, before, after):
    """A convolution or a pool."""
    size = _pair(getattr(layer, "kernel_size", None) or layer.pool_size)[axis]
    step = _pair(layer.strides)[axis]
    reach = (size - 1) * _pair(getattr(layer, "dilation_rate", 1))[axis]
    padded = max((after - 1) * step + reach + 1 - before, 0) // 2 if layer.padding == "same" else 0
    moved = grid.moved(Fraction(reach, 2) - padded)
    return Grid(grid.stride * step, moved.first)


def transposed(layer, axis, grid, before, after):
    """A transposed convolution."""
    size, step = _pair(layer.kernel_size)[axis], _pair(layer.strides)[axis]
    cut = max(size - step, 0) // 2 if layer.padding == "same" else 0
    # Position j of the input reaches the positions j·step − cut … of the output, `size` of them.
    stride = grid.stride / step
    return Grid(stride, grid.first - stride * (Fraction(size - 1, 2) - cut))


def enlarged(layer, axis, grid, before, after):
    """A resize."""
    stride = grid.stride * Fraction(before, after)
    return Grid(stride, grid.first - (grid.stride - stride) / 2)


def padded(layer, axis, grid, before, after):
    """A padding by numbers."""
    return grid.moved(-layer.padding[axis][0])


def cropped(layer, axis, grid, before, after):
    """A crop by numbers."""
    return grid.moved(layer.cropping[axis][0])


def kept(layer, axis, grid, before, after):
    """What only adds or cuts at the end."""
    return grid
