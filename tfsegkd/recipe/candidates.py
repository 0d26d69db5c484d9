"""The networks that a search chooses from, and their costs, before anything is trained."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from tfsegkd.data import DatasetInfo, spread
from tfsegkd.recipe.budget import Budget
from tfsegkd.recipe.network_costs import Costs, Network, with_margin
from tfsegkd.spec import parse_named

# The options that a search chooses where a student's spec does not set them; values in increasing capacity.
CHOICES: dict[str, dict[str, tuple]] = {
    "lite_unet": {"stages": (4, 5, 7), "width": (24, 48, 72)},
    "mobile_unet": {"width_multiplier": (0.5, 0.75, 1.0, 1.5)},
}
# Input sizes, relative to the given size: fine steps, so that a network can use most of a budget.
SCALES = tuple(number / 24 for number in range(12, 37))
# Sides are multiples of this, so that decoders resize by whole factors, which costs less; and at least as
# long as the deepest encoder needs. Rounding may change the aspect ratio by at most this relative amount.
_MULTIPLE, _SHORTEST, _DISTORTION = 16, 32, 0.06
# How often counts may change which candidates are chosen; each round exports some networks.
_ROUNDS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A network at an input size, with its costs.

    Args:
        network: Its spec.
        size: (height, width) of its input.
        rank: Its capacity among networks of its kind, by option.
        costs: Its costs, by kind of the budget.
        counted: Whether the costs are counted on its own file; otherwise they are estimated.
    """

    network: str
    size: tuple[int, int]
    rank: tuple[float, ...]
    costs: Mapping[str, float]
    counted: bool = False

    def __str__(self):
        return f"{self.network} at {self.size[0]}x{self.size[1]}"

    @property
    def key(self) -> str:
        """Its name in file names."""
        return re.sub(r"[^\w.]+", "_", f"{self.network} {self.size[0]}x{self.size[1]}")

    def contains(self, other: "Candidate") -> bool:
        """Whether the other is smaller in at least one respect and larger in none."""
        pairs = list(zip((*self.rank, *self.size), (*other.rank, *other.size), strict=True))
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """All considered networks, and those to train.

    Args:
        all: All networks with their costs.
        within: How many of them are within the budget.
        edge: The Pareto front of those: no other within the budget is larger in one respect and smaller in
            none.
        finalists: Some of the Pareto front, evenly spread over their input sizes, with their counted costs.
    """

    all: tuple[Candidate, ...]
    within: int
    edge: tuple[Candidate, ...]
    finalists: tuple[Candidate, ...]


def networks(student: str) -> dict[str, tuple[float, ...]]:
    """All specs that complete a student's spec, with their ranks.

    Example:
        >>> list(tfsegkd.recipe.candidates.networks("lite_unet(stages=4, width=24)"))
        ['lite_unet(stages=4, width=24)']
        >>> tfsegkd.recipe.candidates.networks("lite_unet(width=24)")["lite_unet(width=24, stages=7)"]
        (7,)
    """
    given = parse_named(student)
    free = {
        name: values for name, values in CHOICES.get(given.name, {}).items() if name not in given.arguments
    }
    found = {}
    for values in itertools.product(*free.values()):
        arguments = {**given.arguments, **dict(zip(free, values, strict=True))}
        text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        found[f"{given.name}({text})" if text else given.name] = values
    return found


def sizes(base: tuple[int, int], largest: tuple[int, int]) -> list[tuple[int, int]]:
    """The input sizes to choose from, smallest first.

    Args:
        base: (height, width), always one of them.
        largest: (height, width) of the images; larger inputs are not considered.
    """
    found = {tuple(base)}
    for scale in SCALES:
        size = tuple(_MULTIPLE * max(round(scale * side / _MULTIPLE), 1) for side in base)
        fits = all(side <= most for side, most in zip(size, largest, strict=True))
        distortion = abs(size[0] * base[1] / (size[1] * base[0]) - 1)
        if fits and min(size) >= _SHORTEST and distortion <= _DISTORTION:
            found.add(size)
    return sorted(found, key=math.prod)


def find(
    student: str,
    base: tuple[int, int],
    largest: tuple[int, int],
    info: DatasetInfo,
    budget: Budget,
    count: int,
    costs: Callable[..., Costs] = Costs,
) -> Candidates:
    """Computes every candidate's costs and chooses those worth training.

    Args:
        student: A student's spec; options of `CHOICES` that it does not set are chosen.
        base, largest: As for `sizes`.
        info: The classes.
        budget: What the networks may cost.
        count: The maximum number of finalists.
        costs: What computes the costs; `Costs` by default.

    Raises:
        ValueError: if nothing is within the budget; the message names the cheapest candidate and its costs.
        OSError: if Arm instructions cannot be counted here; the message says what to install.
    """
    ranks, choices = networks(student), sizes(base, largest)
    price = costs([*ranks], choices, tuple(base), info, budget)
    every = [
        Candidate(spec, size, rank, costs=price.estimate(Network(spec, size)))
        for spec, rank in ranks.items()
        for size in choices
    ]
    finding = _Finding(every, price, budget)
    finalists = finding.finalists(count)
    if not finalists:
        finding.refuse()
    within = finding.within()
    return Candidates(tuple(finding.known()), len(within), tuple(_outer(within)), tuple(finalists))


class _Finding:
    """Chooses candidates by estimated costs, counts their files, and corrects the estimates by the counts."""

    def __init__(self, every: Sequence[Candidate], price: Costs, budget: Budget):
        self._price, self._budget = price, budget
        self._estimated = {one.key: one for one in every}
        self._counted: dict[str, Candidate] = {}

    def finalists(self, count: int) -> list[Candidate]:
        """Returns up to so many candidates of the Pareto front, counted; none if none keeps the budget."""
        for _ in range(_ROUNDS):
            chosen = _chosen(self.within(), count)
            if chosen and all(one.counted for one in chosen):
                return chosen
            self._count(chosen)
        # Counts go on to change what is chosen, or no estimate keeps the budget.
        if not any(one.counted for one in self.within()):
            self._cheapest()
        return _chosen([one for one in self.within() if one.counted], count)

    def within(self) -> list[Candidate]:
        """Those that keep the budget, as far as is known."""
        return [one for one in self.known() if self._keeps(one)]

    def known(self) -> list[Candidate]:
        """All candidates with their counted costs, or else their estimates, corrected."""
        return [self._counted.get(key) or self._corrected(one) for key, one in self._estimated.items()]

    def _corrected(self, one: Candidate) -> Candidate:
        """Corrects an estimate by what the count of the same network at the nearest size says of its own."""
        same = [other for other in self._counted.values() if other.network == one.network]
        if not same:
            return one
        nearest = min(same, key=lambda other: abs(math.log(math.prod(other.size) / math.prod(one.size))))
        estimate = self._estimated[nearest.key].costs
        costs = {kind: cost * nearest.costs[kind] / estimate[kind] for kind, cost in one.costs.items()}
        return dataclasses.replace(one, costs=costs)

    def _count(self, chosen: Iterable[Candidate]) -> None:
        new = [one for one in chosen if not one.counted]
        counts = self._price.count([Network(one.network, one.size) for one in new])
        for one, costs in zip(new, counts, strict=True):
            self._counted[one.key] = dataclasses.replace(one, costs=costs, counted=True)

    def _keeps(self, one: Candidate) -> bool:
        return not self._budget.exceeded(with_margin(one.costs) if one.counted else one.costs)

    def _cheapest(self) -> Candidate:
        """Returns the cheapest, counted."""
        while not (cheapest := min(self.known(), key=lambda one: self._budget.share(one.costs))).counted:
            self._count([cheapest])
        return cheapest

    def refuse(self) -> None:
        """Raises an error that names the cheapest candidate and its costs."""
        cheapest = self._cheapest()
        raise ValueError(
            f"No network is within the budget {self._budget}. The cheapest of {len(self._estimated)} is "
            f"{cheapest}: {self._budget.describe(cheapest.costs)}. Raise the `budget`, or choose a smaller "
            f"`size` or another `student`."
        )


def _outer(found: Sequence[Candidate]) -> list[Candidate]:
    """The Pareto front, the smallest inputs first."""
    kept = [one for one in found if not any(other.contains(one) for other in found)]
    return sorted(kept, key=lambda one: (math.prod(one.size), one.rank))


def _chosen(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """Up to so many of the Pareto front, evenly spread over its input sizes."""
    front = _outer(found)
    return [front[index] for index in spread(len(front), count)]
