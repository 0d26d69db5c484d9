"""Permutes channels so that those of a group stand together, at no cost.

The channels that run through the same layers can change places if all those layers' weights change along:
the network stays the same function. A grouped convolution wants the channels of a group side by side.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Edits, Graph, rebuild, rewrite
from tfsegkd.grouping.gradual import GradualConv2D


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """The input or the output channels of one gradual layer.

    Args:
        layer: Its name.
        axis: 0 for the input, 1 for the output; also the axis of the matrix of weights between the two.
        units: The unit of the channel graph at each channel.
        size: How many channels a group has.
        slots: The place that the layer wants for each channel.
    """

    layer: str
    axis: int
    units: np.ndarray
    size: int
    slots: np.ndarray

    @property
    def name(self) -> str:
        """What a layer that reorders these channels is called."""
        return f"{self.layer}_{('inputs', 'outputs')[self.axis]}"


def gradual(graph: Graph) -> dict[str, GradualConv2D]:
    """The gradual layers of a graph by name."""
    return {name: layer for name, layer in graph.layers().items() if isinstance(layer, GradualConv2D)}


def dense_channels(graph: Graph) -> ChannelGraph:
    """The channels of a network whose gradual layers are taken for plain convolutions."""

    def step(node, here, build):
        if not isinstance(node.layer, GradualConv2D):
            return build.keep(here)
        plain = keras.layers.Conv2D.from_config(plain_config(node.layer))
        return build.keep(here, layer=plain, weights=node.layer.get_weights()[: 1 + node.layer.use_bias])

    return ChannelGraph(rebuild(rewrite(graph, step)))


def plain_config(layer: GradualConv2D) -> dict:
    """The configuration of a gradual layer as a Conv2D's."""
    config = layer.get_config()
    del config["blocks"]
    return config


def partitions(channels: ChannelGraph, layers: Mapping[str, GradualConv2D]) -> list[Partition]:
    """Both partitions of every gradual layer."""
    found = []
    for name, layer in layers.items():
        known = channels.layers.get(name)
        slots = (layer.input_slots.numpy(), layer.output_slots.numpy())
        for axis, wanted in enumerate(slots):
            # The channel graph does not follow layers with channels first: nothing of theirs can move.
            units = np.full(len(wanted), -1) if known is None else (known.inputs, known.outputs)[axis]
            found.append(Partition(name, axis, units, size=len(wanted) // layer.blocks, slots=wanted))
    return found


def positions(units: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The place to which each channel goes if every unit u takes the places of unit moved[u]."""
    found = np.empty(len(units), int)
    # A unit may have several channels; they keep their order.
    found[np.argsort(moved[units], kind="stable")] = np.argsort(units, kind="stable")
    return found


def resolve(channels: ChannelGraph, wanted: list[Partition]) -> np.ndarray:
    """Finds for each unit the one whose positions it takes, so that partitions get what they want."""
    moved = np.arange(channels.num_units)
    for group in channels.groups:
        if group.frozen or len(group.units) == 1:
            continue
        for partition in wanted:
            trial = _assign(partition, group.units, moved)
            if trial is not None:
                moved = trial
                break
    return moved


def _assign(partition: Partition, units: np.ndarray, moved: np.ndarray) -> np.ndarray | None:
    """`moved` with `units` where `partition` wants them; None if it has none of them or it is impossible."""
    here = np.isin(partition.units, units)
    if not here.any():
        return None
    trial = moved.copy()
    trial[partition.units[here]] = partition.units[partition.slots[here]]
    if not np.array_equal(np.sort(trial[units]), np.sort(units)):
        return None
    return trial if np.array_equal(positions(partition.units, trial)[here], partition.slots[here]) else None


def is_fixed(partition: Partition) -> bool:
    """Whether no channel of `partition` is known to the channel graph."""
    return bool((partition.units < 0).any())


def resolved_positions(partition: Partition, moved: np.ndarray) -> np.ndarray:
    """Where the channels of `partition` come to stand."""
    return np.arange(len(partition.units)) if is_fixed(partition) else positions(partition.units, moved)


def is_satisfied(partition: Partition, moved: np.ndarray) -> bool:
    """Whether the channels of each group of `partition` come to stand together, in the groups' order."""
    return np.array_equal(
        resolved_positions(partition, moved) // partition.size, partition.slots // partition.size
    )


def reordered(channels: ChannelGraph, moved: np.ndarray) -> Edits:
    """The weights of all layers with every unit in its new position."""
    weights, layers = {}, channels.graph.layers()
    for name, known in channels.layers.items():
        given = layers[name].get_weights()
        for cut in known.cuts:
            source = np.argsort(positions(cut.channels, moved))
            given[cut.weight] = np.take(given[cut.weight], source, axis=cut.axis)
        if known.cuts:
            weights[name] = given
    return Edits({}, weights)
