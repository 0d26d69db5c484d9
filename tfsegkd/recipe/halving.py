"""Which of several candidates is trained on: all for a short part of their schedule, then the better half."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

# Each round ends after so large a part of the schedule more than the one before it.
SHARE = 0.2

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Round:
    """Some candidates go on to an epoch.

    Args:
        until: The epoch.
        candidates: How many are left.
    """

    until: int
    candidates: int


def rounds(epochs: int, candidates: int, halving: bool = True) -> list[Round]:
    """The rounds of a search: after each but the last one half of the candidates are left out.

    Every candidate has one schedule of all epochs, of which it trains as much as it gets to: what goes on
    goes on from where it was.

    Args:
        epochs: The schedule.
        candidates: How many begin.
        halving: Whether candidates are left out; without it all go on to the end, to see how well the early
            scores tell the last.

    Example:
        >>> rounds(60, 4)
        [Round(until=12, candidates=4), Round(until=24, candidates=2), Round(until=60, candidates=1)]

    Reference:
        Jamieson and Talwalkar, AISTATS 2016, https://arxiv.org/abs/1502.07943. Differs: there every round
        doubles what a candidate gets.
    """
    found, left, share = [], candidates, SHARE
    while left > 1 and (halving or len(found) < 2):
        until = max(1, round(share * epochs))
        if until >= epochs:
            break
        if not found or until > found[-1].until:
            found.append(Round(until, left))
            left = left // 2 if halving else left
        share += SHARE
    return [*found, Round(epochs, left)]


def trainings(planned: Sequence[Round]) -> float:
    """How many whole trainings some rounds take together."""
    done, total = 0, 0
    for one in planned:
        total += one.candidates * (one.until - done)
        done = one.until
    return total / planned[-1].until


def halve(
    items: Sequence[Item], planned: Sequence[Round], score: Callable[[Item, Round], float | None]
) -> list[Item]:
    """Trains and leaves out, round by round; returns all that were trained to the end, the best first.

    Args:
        items: The candidates, in the order in which they are preferred where scores are equal.
        planned: As of `rounds`.
        score: Trains one to the end of a round and says how good it is; None if that failed.

    Raises:
        FloatingPointError: if none is left.
    """
    left = list(items)
    for one in planned:
        left = left[: one.candidates]
        scores = {place: score(item, one) for place, item in enumerate(left)}
        order = sorted(
            (place for place in scores if scores[place] is not None), key=lambda place: -scores[place]
        )
        if not order:
            raise FloatingPointError(
                f"None of {len(left)} candidates could be trained to epoch {one.until}: the loss of each "
                f"became NaN or infinite. Lower the `learning_rate`."
            )
        left = [left[place] for place in order]
    return left
