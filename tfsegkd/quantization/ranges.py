"""Quantization ranges: which outputs of a network are quantized, and which of them share a range.

The int8 file has one operation for a convolution with its BatchNorm and ReLU, so only the end of such a chain
is rounded. Pooling, padding, resizing and the like hand on the scale of what they get, and a Concatenate
needs one scale for all it joins. Tensors bound in this way share one range: nothing is rescaled in between.
"""

import dataclasses

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, Node
from tfsegkd.graph.layer_spec import Scale, activation, scale_of
from tfsegkd.layers import HardGate
from tfsegkd.quantization.fusion import Fusion, computes, fixed_range

layers = keras.layers
Limits = tuple[float | None, float | None]
PIXELS = (0.0, 255.0)


@dataclasses.dataclass(frozen=True)
class Range:
    """How the output of one layer is rounded.

    Args:
        members: The layers whose outputs share this range; one for a range of its own.
        fixed_range: The (low, high) where it is known beforehand.
        limits: (low, high) that a measured range must not exceed; None for an open end. The rounding then
            cuts the values off there, as a ReLU would.
    """

    members: tuple[str, ...]
    fixed_range: tuple[float, float] | None = None
    limits: Limits = (None, None)


def assign_ranges(graph: Graph, fusion: Fusion) -> dict[str, Range]:
    """Decides which layers of a float network are rounded, and how.

    Args:
        graph: As `folding.fold` leaves it.
    """
    pinned: set[int] = set()
    while True:
        ranges = _Ranges(graph, fusion, pinned)
        # A ReLU that is but the end of a range cannot share it with values beyond that end.
        misplaced = [
            node.output.id
            for node in graph.nodes
            if type(node.layer) is layers.ReLU
            and fusion.is_cut(node)
            and ranges.limits(node.output.id) != limits(node)
        ]
        if not misplaced:
            return ranges.ranges()
        pinned |= {*misplaced}


class _Ranges:
    """The tensors of a graph in sets that share a range.

    Args:
        pinned: Tensors that keep a range of their own where they are joined with others.
    """

    def __init__(self, graph: Graph, fusion: Fusion, pinned: set[int]):
        self._nodes = [node for node in graph.nodes if not isinstance(node.layer, layers.InputLayer)]
        self._fusion = fusion
        self._pinned = set(pinned)
        self._parents = {node.output.id: node.output.id for node in graph.nodes}
        self._fixed: dict[int, tuple[float, float]] = {}
        for node in graph.nodes:
            if isinstance(node.layer, layers.InputLayer):
                self._pin(node.output.id, PIXELS)
        for node in self._nodes:
            self._bind(node)
        self._limits: dict[int, Limits] = {}
        for node in self._nodes:
            if computes(node) and not fusion.is_merged(node):
                root = self._root(node.output.id)
                self._limits[root] = _hull(self._limits.get(root, limits(node)), limits(node))

    def limits(self, tensor: int) -> Limits:
        """What no value with the range of `tensor` exceeds."""
        return self._limits.get(self._root(tensor), (None, None))

    def ranges(self) -> dict[str, Range]:
        members: dict[int, list[Node]] = {}
        for node in self._nodes:
            if self._is_rounded(node):
                members.setdefault(self._root(node.output.id), []).append(node)
        return {
            node.name: Range(
                (node.name,) if root in self._fixed else tuple(one.name for one in bound),
                self._fixed.get(root),
                self._limits.get(root, (None, None)),
            )
            for root, bound in members.items()
            for node in bound
        }

    def _bind(self, node):
        scale, output = scale_of(node.layer), node.output.id
        known = fixed_range(node, self._fusion)
        if self._fusion.is_merged(node):
            return
        if known is not None:
            self._pin(output, known)
        elif scale in (Scale.SAME, Scale.POOLED):
            source = node.inputs[0].id
            self._unite(output, source)
            if source in self._pinned:
                self._pinned.add(output)
        elif scale is Scale.SHARED:
            for tensor in node.inputs:
                if tensor.id not in self._pinned:
                    self._unite(output, tensor.id)

    def _pin(self, tensor, fixed):
        self._fixed[tensor] = fixed
        self._pinned.add(tensor)

    def _is_rounded(self, node):
        if self._fusion.is_merged(node):
            return False
        scale, output = scale_of(node.layer), node.output.id
        if scale is Scale.SAME:
            return False
        if output not in self._pinned and self._fusion.joins_later(node):
            return False
        if scale is not Scale.SHARED:
            return True
        return not all(self._stands_on_grid(tensor.id, output) for tensor in node.inputs)

    def _stands_on_grid(self, tensor, joined):
        """Whether a tensor that is joined has been rounded with the range of the result."""
        node = self._fusion.producers[tensor]
        while scale_of(node.layer) is Scale.SAME:
            node = self._fusion.producer(node)
        if isinstance(node.layer, layers.InputLayer):
            return False
        return self._root(tensor) == self._root(joined) and self._is_rounded(node)

    def _unite(self, one, other):
        one, other = self._root(one), self._root(other)
        self._parents[one] = other
        if one in self._fixed:
            self._fixed[other] = self._fixed[one]

    def _root(self, tensor):
        while self._parents[tensor] != tensor:
            tensor = self._parents[tensor]
        return tensor


def limits(node: Node) -> Limits:
    """What the output of `node` cannot exceed."""
    if type(node.layer) is HardGate:
        return (0.0, 6.0)
    if type(node.layer) is layers.ReLU:
        return (0.0, None if node.layer.max_value is None else float(node.layer.max_value))
    return {"relu": (0.0, None), "relu6": (0.0, 6.0)}.get(activation(node.layer), (None, None))


def _hull(one: Limits, other: Limits) -> Limits:
    low = None if None in (one[0], other[0]) else min(one[0], other[0])
    high = None if None in (one[1], other[1]) else max(one[1], other[1])
    return low, high
