"""Assigns channels to groups so that the weight within groups is greatest."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, read
from tfsegkd.grouping.gradual import gradual_layers
from tfsegkd.grouping.permutation import Partition, dense_channels, gradual, is_satisfied, partitions, resolve

_STARTS = 4
_MAX_SWEEPS = 50
_GAIN = 1e-9


@dataclasses.dataclass(frozen=True)
class AssignmentReport:
    """What `assign_channels` did.

    Args:
        kept_before, kept_after: Layer name → the share of its squared weights that lies within groups, of
            channels in their order and as assigned.
        ordered: The places where `regroup` puts a layer that reorders channels, because those of the graph
            are bound to their places; each costs time. Empty if the new order goes into the weights.

    Example:
        report = grouping.assign_channels(grouping.make_gradual(student, groups=4))
        report.kept_before, report.kept_after  # by layer, the share of the weights that stays
    """

    kept_before: dict[str, float]
    kept_after: dict[str, float]
    ordered: tuple[str, ...]

    def __str__(self):
        before, after = (np.mean(list(kept.values())) for kept in (self.kept_before, self.kept_after))
        cost = f"; reorders channels at {', '.join(self.ordered)}" if self.ordered else ""
        return f"weight within groups {before:.1%} → {after:.1%}, {len(self.kept_after)} layers{cost}"


def assign_channels(model: keras.Model, seed: int = 0) -> AssignmentReport:
    """Chooses for every gradual layer of `model` which channels form a group, by its weights.

    Channels change groups so that as much weight as can be found lies within them. Channels that are added up
    or read by several layers have one group for all of them, so that `regroup` can put the order into the
    weights and it costs nothing. What the network computes at alpha = 1 stays the same.

    Args:
        model: With gradual layers, at any alpha. Its `input_slots` and `output_slots` change.
        seed: Of the orders from which the search starts.

    Returns:
        How much of the weights lies inside of groups before and after.

    Raises:
        ValueError: if `model` has no gradual layer.

    Example:
        gradual = grouping.make_gradual(student, groups=4)
        report = grouping.assign_channels(gradual, seed=1)

    Reference:
        Kuhn, Naval Research Logistics 1955, for the assignment; one set of channels after the other is
        assigned again, given the others, until nothing is gained.
        Reconstruction: the balance of layers. Each counts as much as any other, by the share of its weight.
    """
    gradual_layers(model)
    graph = read(model)
    layers = gradual(graph)
    channels = dense_channels(graph)
    found = partitions(channels, layers)
    energies = {}
    for name, layer in layers.items():
        energy = np.square(layer.kernel.numpy().astype(float)).sum((0, 1))
        energies[name] = energy / max(energy.sum(), np.finfo(float).tiny)
    search = _Search(channels, found, energies)
    random = np.random.default_rng(seed)
    best = search.start(lambda count: np.arange(count))
    before = search.kept(best)
    best = search.improve(best)
    for _ in range(_STARTS - 1):
        trial = search.improve(search.start(random.permutation))
        if search.total(trial) > search.total(best) + _GAIN:
            best = trial
    for partition, slots in zip(found, best, strict=True):
        layer = layers[partition.layer]
        (layer.output_slots if partition.axis else layer.input_slots).assign(slots)
    wanted = partitions(channels, layers)
    moved = resolve(channels, wanted)
    ordered = tuple(partition.name for partition in wanted if not is_satisfied(partition, moved))
    return AssignmentReport(before, search.kept(best), ordered)


# The slots of all partitions, in their order.
_Slots = list[np.ndarray]


class _Search:
    """Moves sets of channels that can change places with one another.

    Args:
        channels: Of the network.
        found: The partitions of the gradual layers.
        energies: Layer name → the share of its weight between each input and output channel.
    """

    def __init__(self, channels: ChannelGraph, found: Sequence[Partition], energies: dict[str, np.ndarray]):
        self._partitions, self._energies = found, energies
        self._sets = [
            _Movable(
                np.asarray(group.units),
                {n: one.units for n, one in enumerate(found) if np.isin(one.units, group.units).any()},
            )
            for group in channels.groups
            if not group.frozen and len(group.units) > 1
        ]
        self._sets = [movable for movable in self._sets if movable.partitions]
        free = {number for movable in self._sets for number in movable.partitions}
        for number, partition in enumerate(found):
            # Neither the layer's input nor its output can move: a layer of its own will reorder the input.
            if partition.axis == 0 and not {number, number + 1} & free:
                own = np.arange(len(partition.slots))
                self._sets.append(_Movable(own, {number: own}))

    def start(self, permute: Callable[[int], np.ndarray]) -> _Slots:
        """Slots in which every set of channels is permuted."""
        slots = [np.arange(len(partition.slots)) for partition in self._partitions]
        for movable in self._sets:
            slots = movable.placed(slots, permute(len(movable.units)))
        return slots

    def total(self, slots: _Slots) -> float:
        return sum(self.kept(slots).values())

    def kept(self, slots: _Slots) -> dict[str, float]:
        """Layer name → the share of its weight within groups."""
        kept = {}
        for number in range(0, len(self._partitions), 2):
            inputs, outputs = (self._groups(slots, number + axis) for axis in (0, 1))
            within = inputs[:, None] == outputs[None, :]
            name = self._partitions[number].layer
            kept[name] = float(self._energies[name][within].sum())
        return kept

    def improve(self, slots: _Slots) -> _Slots:
        """Assigns one set of channels after the other until nothing is gained."""
        value = self.total(slots)
        for _ in range(_MAX_SWEEPS):
            before = value
            for movable in self._sets:
                rows, columns = linear_sum_assignment(self._scores(movable, slots), maximize=True)
                trial = movable.placed(slots, columns[np.argsort(rows)])
                gained = self.total(trial)
                # Where a set is in both partitions of a layer, the scores are a guess.
                if gained > value + _GAIN:
                    slots, value = trial, gained
            if value <= before + _GAIN:
                break
        return slots

    def _groups(self, slots, number):
        return slots[number] // self._partitions[number].size

    def _scores(self, movable, slots):
        """(units, places): the weight within groups if one unit alone takes the places of another."""
        scores = np.zeros((len(movable.units),) * 2)
        for number, positions in movable.positions.items():
            partition, other = self._partitions[number], number ^ 1
            energy = self._energies[partition.layer]
            energy = energy.T if partition.axis else energy
            groups = self._groups(slots, other)
            weight = np.stack([energy[:, groups == g].sum(1) for g in range(groups.max() + 1)], axis=1)
            for column in positions.T:  # a unit may have several channels
                scores += weight[column][:, column // partition.size]
        return scores


class _Movable:
    """Units that can change places with one another.

    Args:
        units: The units.
        sides: Number of a partition they are in → the units of all its channels.
    """

    def __init__(self, units: np.ndarray, partitions: dict[int, np.ndarray]):
        self.units, self.partitions = np.sort(units), partitions
        self.positions = {
            number: np.stack([np.flatnonzero(there == unit) for unit in self.units])
            for number, there in partitions.items()
        }

    def placed(self, slots: _Slots, order: np.ndarray) -> _Slots:
        """`slots` with the unit of number i in the places of number order[i]."""
        slots = list(slots)
        for number, positions in self.positions.items():
            slots[number] = slots[number].copy()
            slots[number][positions] = positions[order]
        return slots
