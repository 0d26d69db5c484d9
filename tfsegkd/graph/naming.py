"""Names of layers that nothing else has."""

import itertools
from collections.abc import Sequence


class Names:
    """Gives each owner a name of its own."""

    def __init__(self):
        self._names: dict[int, str] = {}
        self._owners: list = []  # kept, so that no other object can have the id of one

    def take(self, owner, candidates: Sequence[str]) -> str:
        """The name of `owner`: the one that it has, its first free candidate, or the last one numbered."""
        if id(owner) not in self._names:
            taken = set(self._names.values())
            numbered = (f"{candidates[-1]}_{number}" for number in itertools.count(1))
            chosen = next(name for name in itertools.chain(candidates, numbered) if name not in taken)
            self._names[id(owner)] = chosen
            self._owners.append(owner)
        return self._names[id(owner)]
