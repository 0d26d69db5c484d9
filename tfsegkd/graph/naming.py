"""Unique names for layers."""

import itertools
from collections.abc import Collection, Sequence


def free_name(taken: Collection[str], candidates: Sequence[str]) -> str:
    """The first of some candidates that is not taken, or the last one numbered."""
    numbered = (f"{candidates[-1]}_{number}" for number in itertools.count(1))
    return next(name for name in itertools.chain(candidates, numbered) if name not in taken)


class Names:
    """Gives each owner a name of its own."""

    def __init__(self):
        self._names: dict[int, str] = {}
        self._owners: list = []  # kept, so that no other object can have the id of one

    def take(self, owner, candidates: Sequence[str]) -> str:
        """The name of `owner`: the one that it has, its first free candidate, or the last one numbered."""
        if id(owner) not in self._names:
            self._names[id(owner)] = free_name({*self._names.values()}, candidates)
            self._owners.append(owner)
        return self._names[id(owner)]
