"""Selects the channels to remove so that a cost target is met."""

import math
from collections.abc import Callable

import numpy as np

from tfsegkd.graph import ChannelGraph, Group

SCOPES = ("local", "global", "isomorphic")
# Halvings of the share that is removed: below one unit in a billion.
_HALVINGS = 30


class Selection:
    """The least important units of a network, as many as it takes.

    Args:
        channels: The network's channels.
        scores: (units,) what each is worth; infinite for those that must stay.
        scope: Which units compete: 'local', those of one group, so that every group loses the same share;
            'global', all; 'isomorphic', those of all groups that run through the same kinds of layers.
        round_to: Every layer keeps a multiple of it, or all it has.

    Attributes:
        groups: The groups that can lose units with these settings.
    """

    def __init__(self, channels: ChannelGraph, scores: np.ndarray, scope: str, round_to: int):
        self._channels, self._scores = channels, scores
        self._steps = {
            group.name: step_of(group, round_to)
            for group in channels.prunable
            if np.isfinite(scores[group.units]).all()
        }
        self.groups = [
            group
            for group in channels.prunable
            if group.name in self._steps and self._steps[group.name] < len(group.units)
        ]
        # Units from the most to the least important, so that a group keeps the head of its list.
        self._ranked = {
            group.name: group.units[np.argsort(-scores[group.units], kind="stable")] for group in self.groups
        }
        self._pools = _pools(self.groups, channels, scope)

    def least(self) -> np.ndarray:
        """The smallest set of units that can be kept."""
        return self._remove(1.0)

    def reach(self, measure: Callable[[np.ndarray], float], target: float) -> np.ndarray:
        """The set of units to keep with which `measure` comes closest to `target` from below.

        Args:
            measure: Set of units → what it costs; never more for fewer units. `least` must meet the target.
        """
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if measure(self._remove(middle)) <= target else (middle, high)
        return self._restore(self._remove(high), measure, target)

    def _remove(self, share: float) -> np.ndarray:
        """What is left without the least important `share` of each pool."""
        keep = self._channels.all()
        for pool in self._pools:
            units = np.concatenate([group.units for group in pool])
            order = np.argsort(self._scores[units], kind="stable")
            gone = np.zeros(self._channels.num_units, bool)
            gone[units[order[: math.floor(share * len(units) + 1e-9)]]] = True
            for group in pool:
                count = self._rounded(group, len(group.units) - int(gone[group.units].sum()))
                keep[self._ranked[group.name][count:]] = False
        return keep

    def _rounded(self, group: Group, count: int) -> int:
        step = self._steps[group.name]
        return min(len(group.units), max(step, math.ceil(count / step) * step))

    def _restore(self, keep, measure, target) -> np.ndarray:
        """Returns removed units, one step for a group, if the target allows it; the most important first.

        Groups of one size step together when the share that is removed grows, and often not all need to.
        """
        blocks = []
        for group in self.groups:
            start = int(keep[group.units].sum())
            block = self._ranked[group.name][start : self._rounded(group, start + 1)]
            if len(block):
                blocks.append(block)
        for block in sorted(blocks, key=lambda block: -self._scores[block].mean()):
            keep[block] = True
            if measure(keep) > target:
                keep[block] = False
        return keep


def step_of(group: Group, round_to: int) -> int:
    """How many units go at a time so that each layer loses a multiple of `round_to` channels."""
    widths = group.widths.values()
    return math.lcm(1, *(round_to // math.gcd(round_to, width) for width in widths if width))


def _pools(groups: list[Group], channels: ChannelGraph, scope: str) -> list[list[Group]]:
    if scope == "local":
        return [[group] for group in groups]
    if scope == "global":
        return [groups] if groups else []
    pools: dict[tuple, list[Group]] = {}
    for group in groups:
        pools.setdefault(_kind(group, channels), []).append(group)
    return list(pools.values())


def _kind(group: Group, channels: ChannelGraph) -> tuple:
    """The kinds of layers that a group runs through, their kernel sizes included."""
    roles = (group.producers, group.pass_through, group.consumers)
    layers = [[channels.model.get_layer(name) for name in role] for role in roles]
    return tuple(
        tuple(sorted((type(layer).__name__, str(getattr(layer, "kernel_size", ""))) for layer in role))
        for role in layers
    )
