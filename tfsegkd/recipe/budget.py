"""Budgets: limits for a network's costs on a device, as a user writes them."""

import dataclasses
import math
import os
import re
from collections.abc import Mapping

from tfsegkd import checks

# The kinds of costs and their units.
KINDS = {
    "arm": "Arm instructions an image",
    "bytes": "bytes of the int8 file",
    "macs": "MACs",
    "latency": "ms by the device table",
}
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_EXAMPLE = "such as arm:60M,bytes:1M"


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit for one kind of cost.

    Args:
        kind: One of `KINDS`.
        most: The limit; milliseconds for a latency.

    Raises:
        ValueError: for an unknown kind, or a limit that is not above 0.
    """

    kind: str
    most: float

    def __post_init__(self):
        checks.one_of(self.kind, KINDS, "The kind of a budget")
        checks.positive(self.most, f"The budget {self.kind}")

    def __str__(self):
        return f"{self.kind}:{short(self.most)}"


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits for the costs of a network; all of them hold.

    Args:
        limits: The limits, of different kinds.
        device_table: The CSV `layer,ms` from which a latency is estimated; required for one.

    Raises:
        ValueError: for no limit, two limits of one kind, or a latency without a table.

    Example:
        >>> budget = tfsegkd.recipe.Budget.parse("arm:60M,bytes:1M")
        >>> budget.exceeded({"arm": 56_524_522, "bytes": 1_100_000})
        ['bytes']
    """

    limits: tuple[Limit, ...]
    device_table: str | os.PathLike | None = None

    def __post_init__(self):
        kinds = [limit.kind for limit in self.limits]
        if not kinds:
            raise ValueError(f"A budget needs a limit, {_EXAMPLE}. Received: none.")
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            given = ", ".join(str(limit) for limit in self.limits if limit.kind in twice)
            raise ValueError(
                f"A budget has one limit of a kind. Received: {given}. Give one limit of "
                f"each kind; the kinds are {list(KINDS)}."
            )
        if ("latency" in kinds) != (self.device_table is not None):
            raise ValueError(
                f"A latency such as latency:20, in ms, and a `device_table`, the CSV layer,ms of the device, "
                f"need each other. Received: `budget={self}`, `device_table={self.device_table}`."
            )

    @classmethod
    def parse(cls, text: str, device_table: str | os.PathLike | None = None) -> "Budget":
        """Reads `kind:number`, or several separated by commas; k, M and G multiply by 1,000 and its powers.

        Args:
            text: Such as 'arm:60M,bytes:1M'. Kinds are arm (instructions an image on one thread of a
                Cortex-A76), bytes (of the int8 file), macs, and latency (ms an image by `device_table`).
            device_table: As for `Budget`.

        Raises:
            ValueError: for a text that is not a budget; the message lists the choices.
        """
        return cls(tuple(_limit(part, text) for part in text.split(",")), device_table)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(limit.kind for limit in self.limits)

    def exceeded(self, costs: Mapping[str, float]) -> list[str]:
        """The kinds whose limit a network exceeds.

        Args:
            costs: Its costs, one for each kind in the budget.
        """
        return [limit.kind for limit in self.limits if costs[limit.kind] > limit.most]

    def share(self, costs: Mapping[str, float]) -> float:
        """The largest ratio of a cost to its limit; above 1 the network is over the budget."""
        return max(costs[limit.kind] / limit.most for limit in self.limits)

    def describe(self, costs: Mapping[str, float]) -> str:
        """The costs in words, such as '56.5M of 60M Arm instructions an image'."""
        parts = (f"{short(costs[one.kind])} of {short(one.most)} {KINDS[one.kind]}" for one in self.limits)
        return ", ".join(parts)

    def __str__(self):
        return ",".join(map(str, self.limits))


def _limit(part: str, text: str) -> Limit:
    kind, colon, number = (word.strip() for word in part.partition(":"))
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)", number)
    if not colon or kind not in KINDS or not found:
        hint = checks.did_you_mean(kind, KINDS) if kind not in KINDS else ""
        raise ValueError(
            f"A budget is kind:number with a kind of {list(KINDS)}, or several separated by commas, "
            f"{_EXAMPLE}. Received: {part!r} in {text!r}.{hint}"
        )
    if found[2] not in _FACTORS:
        raise ValueError(
            f"The budget {part.strip()!r} has the unit {found[2]!r}. Expected a plain number, or one with "
            f"{', '.join(filter(None, _FACTORS))} for thousands, millions and billions: arm counts "
            f"instructions, bytes bytes, macs MACs, latency ms."
        )
    return Limit(kind, float(found[1]) * _FACTORS[found[2]])


def short(value: float) -> str:
    """Formats a number with at most four digits and its unit, as `Budget.parse` reads it."""
    if not math.isfinite(value):
        return str(value)
    unit, factor = next(
        ((unit, factor) for unit, factor in reversed(_FACTORS.items()) if abs(value) >= factor),
        ("", 1.0),
    )
    return f"{value / factor:.4g}{unit}"
