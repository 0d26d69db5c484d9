"""The Pareto front of networks by cost and score."""

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Returns the indices of the Pareto front, cheapest first."""
    best, found = float("-inf"), []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -scores[index])):
        if scores[index] > best:
            best = scores[index]
            found.append(index)
    return found
