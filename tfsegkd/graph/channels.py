"""Channel dependencies: which channels of which layers are removed together, and the network without some."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph.cost import cost
from tfsegkd.graph.dependencies import Dependencies
from tfsegkd.graph.layer_spec import LayerChannels
from tfsegkd.graph.nodes import Graph, has_inner_models, read
from tfsegkd.graph.rebuild import rebuild


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that run through the same layers, such as all those of a convolution and its BatchNorm.

    Any of its units can go without the others.

    Args:
        name: The first layer that makes these channels, numbered if it makes several groups.
        units: Their numbers. A unit is what lives or dies together: a channel of each layer, or several.
        producers: Layers whose filters make them.
        pass_through: Layers with weights that they run through, channel by channel.
        consumers: Layers that read them into channels of their own.
        widths: Layer → how many of its output channels one unit is, for the producers and pass-through
            layers.
        frozen: Why none of them can go; empty if they can.

    Example:
        group = graph.ChannelGraph(student).groups[0]
        group.producers, group.consumers  # layers that make the channels, and that take them
    """

    name: str
    units: np.ndarray
    producers: tuple[str, ...]
    pass_through: tuple[str, ...]
    consumers: tuple[str, ...]
    widths: dict[str, int]
    frozen: tuple[str, ...]

    @property
    def is_prunable(self) -> bool:
        return not self.frozen and len(self.units) > 1


class Counts(NamedTuple):
    """What is left of a network's cost."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Edits:
    """What to change to lose channels: the arguments of `rebuild`.

    Args:
        configs: Layer name → the entries of its configuration that change.
        weights: Layer name → all its weights.
    """

    configs: dict[str, dict[str, Any]]
    weights: dict[str, list[np.ndarray]]


class ChannelGraph:
    """The channels of a network, counted in units that can go one by one.

    A set of units to keep is an array of booleans, one for each unit.

    Args:
        model: A functional network with channels last. Models inside it are opened.

    Attributes:
        graph: The network's nodes.
        groups: Units that run through the same layers, in the order in which they are made.
        layers: Layer name → what losing units means for it.
        num_units: How many units there are.

    Raises:
        TypeError: if `model` is not functional.

    Example:
        print(graph.ChannelGraph(student).describe())
    """

    def __init__(self, model: keras.Model):
        if has_inner_models(model):
            model = rebuild(read(model))  # so that every tensor has the size at which its model is called
        self.model = model
        self.graph: Graph = read(model)
        self._templates = self.graph.layers()
        dependencies = Dependencies(self.graph)
        roots = [dependencies.find(atom_id) for atom_id in range(dependencies.count)]
        found, unit_of = np.unique(np.asarray(roots, int), return_inverse=True)
        self.num_units = len(found)
        reasons = dependencies.reasons()
        self._frozen = {unit: tuple(reasons[root]) for unit, root in enumerate(found) if root in reasons}
        self._channels = {tensor: unit_of[ids] for tensor, ids in dependencies.channels.items()}
        self.layers = {name: _in_units(layer, unit_of) for name, layer in dependencies.layers.items()}
        self.groups = self._gather()

    @property
    def prunable(self) -> list[Group]:
        """The groups that can lose units."""
        return [group for group in self.groups if group.is_prunable]

    def all(self) -> np.ndarray:
        """The set of all units."""
        return np.ones(self.num_units, bool)

    def units_of(self, tensor: int) -> np.ndarray:
        """The unit at each channel of the tensor with that id."""
        return self._channels[tensor]

    def kept(self, keep: np.ndarray) -> dict[str, tuple[int, ...]]:
        """The output channels that each layer keeps.

        A layer that is called on different channels, such as a ReLU used twice, has no one answer and is left
        out.
        """
        found: dict[str, tuple[int, ...] | None] = {}
        for node in self.graph.nodes:
            for tensor in node.outputs:
                channels = tuple(np.flatnonzero(keep[self._channels[tensor.id]]).tolist())
                found[node.name] = channels if found.get(node.name, channels) == channels else None
        return {name: channels for name, channels in found.items() if channels is not None}

    def counts(self, keep: np.ndarray) -> Counts:
        """The parameters and MACs with only some units kept, as `graph.cost` would count them."""
        full, weights = self._full_counts
        parameters, macs = full
        for _, size, uses, axes in weights:
            gone = size - _left(size, axes, keep)
            parameters -= gone
            macs -= gone * uses
        return Counts(parameters, macs)

    def shares(self, keep: np.ndarray) -> dict[str, float]:
        """What is left of each layer's work: of its MACs, or of its output channels if it has none."""
        _, weights = self._full_counts
        found: dict[str, list[float]] = {}
        for node in self.graph.nodes:
            left = [float(keep[self._channels[tensor.id]].mean()) for tensor in node.outputs]
            found.setdefault(node.name, []).append(float(np.mean(left)))
        shares = {name: float(np.mean(several)) for name, several in found.items()}
        work: dict[str, tuple[int, int]] = {}
        for name, size, uses, axes in weights:
            full, less = work.get(name, (0, 0))
            work[name] = (full + size * uses, less + _left(size, axes, keep) * uses)
        return {**shares, **{name: less / full for name, (full, less) in work.items() if full}}

    def edits(self, keep: np.ndarray) -> Edits:
        """What to change in the network to keep only some units.

        Raises:
            ValueError: if a unit that must stay is to go, or a layer would be left without channels.
        """
        self._check(keep)
        configs, weights = {}, {}
        for name, layer in self.layers.items():
            template = self._templates[name]
            if not all(keep[cut.channels].all() for cut in layer.cuts):
                weights[name] = template.get_weights()
                for cut in layer.cuts:
                    values = weights[name][cut.weight]
                    weights[name][cut.weight] = np.compress(keep[cut.channels], values, axis=cut.axis)
            changed = {entry: units for entry, units in layer.sizes.items() if not keep[units].all()}
            if changed:
                config, configs[name] = template.get_config(), {}
                for entry, units in changed.items():
                    old, count = config[entry], int(keep[units].sum())
                    # A number of channels, or a shape that ends with it.
                    configs[name][entry] = (*old[:-1], count) if isinstance(old, list | tuple) else count
        return Edits(configs, weights)

    def rebuild(self, edits: Edits) -> keras.Model:
        """The network with the edits made."""
        return rebuild(self.graph, edits.configs, edits.weights)

    def describe(self) -> str:
        """The groups in words: which layers make, carry and read which channels, and what is frozen why."""
        prunable, frozen = self.prunable, [group for group in self.groups if group.frozen]
        single = len(self.groups) - len(prunable) - len(frozen)
        units = sum(len(group.units) for group in prunable)
        lines = [
            f"{self.graph.name}: {len(prunable)} groups with {units} units can lose channels; {len(frozen)} "
            f"groups are frozen" + (f"; {single} are a single unit" if single else "")
        ]
        for group in self.groups:
            widest = max(group.widths.values(), default=1)
            size = "channels" if widest == 1 else f"units of {widest} channels"
            lines.extend(["", f"{group.name}: {len(group.units)} {size}"])
            names = (
                ("made by", group.producers),
                ("carried by", group.pass_through),
                ("read by", group.consumers),
            )
            lines.extend(f"    {what:<10} {', '.join(layers)}" for what, layers in names if layers)
            lines.extend(f"    frozen     {reason}" for reason in group.frozen)
        return "\n".join(lines)

    @cached_property
    def _full_counts(self):
        """The whole network's counts; of each weight that shrinks: layer, size, uses, its axes' channels."""
        weights = []
        for name, layer in self.layers.items():
            for number, weight in enumerate(self._templates[name].weights):
                axes = [cut.channels for cut in layer.cuts if cut.weight == number]
                uses = layer.positions if number in layer.kernels else 0
                weights.append((name, math.prod(weight.shape), uses, axes))
        full = cost(self.model)
        return Counts(full.parameters, full.macs), weights

    def _gather(self) -> list[Group]:
        """Puts units together that the same axes of the same layers go along."""
        passages: list[list] = [[] for _ in range(self.num_units)]
        for name, layer in self.layers.items():
            for number, cut in enumerate(layer.cuts):
                for unit, count in zip(*np.unique(cut.channels, return_counts=True), strict=True):
                    passages[unit].append((name, number, int(count)))
        alike: dict[tuple, list[int]] = {}
        for unit, passed in enumerate(passages):
            alike.setdefault((tuple(passed), self._frozen.get(unit, ())), []).append(unit)
        groups = [self._group(units, passed, frozen) for (passed, frozen), units in alike.items()]
        seen: dict[str, int] = {}
        for number, group in enumerate(groups):
            seen[group.name] = seen.get(group.name, 0) + 1
            if seen[group.name] > 1:  # the filters of one layer can meet different partners
                groups[number] = replace(group, name=f"{group.name} ({seen[group.name]})")
        return groups

    def _group(self, units, passed, frozen) -> Group:
        roles: dict[str, dict[str, None]] = {"produces": {}, "passes": {}, "consumes": {}}
        for name, number, _ in passed:
            roles[self.layers[name].cuts[number].role][name] = None
        name = next(iter(roles["produces"]), None) or self._source(units[0])
        outputs = {name: self.layers[name].outputs for name in (*roles["produces"], *roles["passes"])}
        widths = {name: int((channels == units[0]).sum()) for name, channels in outputs.items()}
        return Group(name, np.asarray(units), *map(tuple, roles.values()), widths, frozen)

    def _source(self, unit) -> str:
        return next(
            node.name
            for node in self.graph.nodes
            for tensor in node.outputs
            if unit in self._channels[tensor.id]
        )

    def _check(self, keep):
        for group in self.groups:
            if group.frozen and not keep[group.units].all():
                raise ValueError(
                    f"The channels of {group.name!r} cannot be removed: {'; '.join(group.frozen)}. Keep "
                    "them all."
                )
        for name, layer in self.layers.items():
            if not keep[layer.outputs].any() or not keep[layer.inputs].any():
                raise ValueError(f"Layer {name!r} would be left without channels. Keep at least one.")


def _left(size: int, axes: Iterable[np.ndarray], keep: np.ndarray) -> int:
    """How many numbers are left of a weight."""
    for channels in axes:
        size = size * int(np.count_nonzero(keep[channels])) // len(channels)
    return size


def _in_units(layer: LayerChannels, unit_of: np.ndarray) -> LayerChannels:
    return replace(
        layer,
        inputs=unit_of[layer.inputs],
        outputs=unit_of[layer.outputs],
        cuts=[replace(cut, channels=unit_of[cut.channels]) for cut in layer.cuts],
        sizes={entry: unit_of[ids] for entry, ids in layer.sizes.items()},
    )
