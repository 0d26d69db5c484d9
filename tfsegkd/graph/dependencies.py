"""Follows channels through a graph and joins those that must be kept or removed together."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.layer_spec import LayerChannels, spec_of
from tfsegkd.graph.layer_table import PASSAGES
from tfsegkd.graph.nodes import Graph, Node


class Dependencies:
    """Follows the channels through a graph and joins those that must live or die together.

    Attributes:
        channels: Tensor id → the channel at each of its positions.
        layers: Layer name → what removal means for it, for the layers that removal changes.
        frozen: Channel → why it must stay, before joining (see `reasons`).
    """

    def __init__(self, graph: Graph):
        self._parents: list[int] = []
        self.channels: dict[int, np.ndarray] = {}
        self.layers: dict[str, LayerChannels] = {}
        self.frozen: dict[int, list[str]] = {}
        for node in graph.nodes:
            self._visit(node)
        for tensor in tf.nest.flatten(graph.outputs):
            name = graph.producers[tensor.id].name
            self.freeze(self.channels[tensor.id], f"{name!r} is an output of the network")

    def fresh(self, count: int) -> np.ndarray:
        """New channels."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    @property
    def count(self) -> int:
        """How many channels there are before any are joined."""
        return len(self._parents)

    def find(self, channel: int) -> int:
        """The channel that stands for all that `channel` was joined with."""
        while self._parents[channel] != channel:
            self._parents[channel] = channel = self._parents[self._parents[channel]]
        return int(channel)

    def unite(self, ones: np.ndarray, others: np.ndarray) -> None:
        """Joins channels pair by pair."""
        for one, other in zip(ones, others, strict=True):
            first, second = sorted((self.find(one), self.find(other)))
            self._parents[second] = first

    def freeze(self, channels: np.ndarray, reason: str) -> None:
        """Notes that channels must stay."""
        for channel in np.unique(channels):
            self.frozen.setdefault(int(channel), []).append(reason)

    def reasons(self) -> dict[int, list[str]]:
        """Joined channel → why it must stay."""
        found: dict[int, list[str]] = {}
        for channel, reasons in self.frozen.items():
            kept = found.setdefault(self.find(channel), [])
            kept.extend(reason for reason in reasons if reason not in kept)
        return found

    def _visit(self, node: Node) -> None:
        inputs = [self.channels[tensor.id] for tensor in node.inputs]
        known = self.layers.get(node.name)
        if known is not None:  # a shared layer: what it gets now must match what it got before
            if len(inputs[0]) == len(known.inputs):
                self.unite(known.inputs, inputs[0])
                known.positions += _positions(node)
                self.channels[node.outputs[0].id] = known.outputs
                return
            self.freeze(known.inputs, f"{node.name!r} is shared by inputs with different channels")
        rule = spec_of(node.layer).channels
        rule = PASSAGES.get(rule, rule)
        given = rule(self, node, inputs) if rule else None
        if given is None:
            given = self.stop(node, inputs)
        if isinstance(given, LayerChannels):
            given.positions = _positions(node) if given.kernels else 0
            self.layers[node.name] = given
            given = given.outputs
        for tensor in node.outputs:
            if len(given) != tensor.width:
                given = self.stop(node, inputs)
            self.channels[tensor.id] = given

    def stop(self, node: Node, inputs: list[np.ndarray], reason: str | None = None) -> np.ndarray:
        """Freezes the inputs and outputs of a layer, because we do not know how they depend on each other."""
        kind = getattr(node.layer, "symbol", None) or type(node.layer).__name__
        reason = reason or "we do not know what it does with channels"
        reason = f"{node.name!r} ({kind}): {reason}"
        for channels in inputs:
            self.freeze(channels, reason)
        given = self.fresh(node.outputs[0].width)
        self.freeze(given, reason)
        return given


def _positions(node: Node) -> int:
    reads_positions = isinstance(node.layer, keras.layers.Conv2DTranspose)
    return (node.inputs if reads_positions else node.outputs)[0].positions
