"""Names of layers that nothing else has."""

import itertools
from collections.abc import Sequence


class Names:
    """Gives each owner a name of its own."""

    def __init__(self):
        self._names: dict[int, str] = {}
        self._owners: list = []  # kept, so that no other object can have the id of one

    def take(self, owner, wishes: Sequence[str]) -> str:
        """The name of `owner`: one that it has already, its first free wish, or its last wish numbered."""
        if id(owner) not in self._names:
            taken = set(self._names.values())
            numbered = (f"{wishes[-1]}_{number}" for number in itertools.count(1))
            chosen = next(name for name in itertools.chain(wishes, numbered) if name not in taken)
            self._names[id(owner)] = chosen
            self._owners.append(owner)
        return self._names[id(owner)]
