"""Successive halving: trains all candidates for a part of their schedule, then the better half further."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

# Each round ends this factor later in the schedule than the previous one.
SHARE = 0.2

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Round:
    """A round: some candidates are trained to an epoch.

    Args:
        until: The epoch.
        candidates: The number of candidates in it.
    """

    until: int
    candidates: int


def rounds(epochs: int, candidates: int, halving: bool = True) -> list[Round]:
    """The rounds of a search: after each but the last, half of the candidates are dropped.

    Every candidate has one schedule over all epochs, and its training continues from round to round.

    Args:
        epochs: The number of epochs of the schedule.
        candidates: The number of candidates of the first round.
        halving: Whether candidates are dropped; without it all are trained to the end, which shows how well
            early scores predict the last ones.

    Example:
        >>> tfsegkd.recipe.halving.rounds(60, 4)
        [Round(until=12, candidates=4), Round(until=24, candidates=2), Round(until=60, candidates=1)]

    Reference:
        Jamieson and Talwalkar, AISTATS 2016, https://arxiv.org/abs/1502.07943. Differs: there every round
        doubles a candidate's resources.
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
    """The cost of rounds, in complete trainings."""
    done, total = 0, 0
    for one in planned:
        total += one.candidates * (one.until - done)
        done = one.until
    return total / planned[-1].until


def halve(
    items: Sequence[Item], planned: Sequence[Round], score: Callable[[Item, Round], float | None]
) -> list[Item]:
    """Trains and drops candidates, round by round; returns those that were trained to the end, best first.

    Args:
        items: The candidates; of equal scores, earlier ones are preferred.
        planned: The result of `rounds`.
        score: Trains a candidate to the end of a round and returns its score; None if that failed.

    Raises:
        FloatingPointError: if none is left.
    """
    left = list(items)
    for one in planned:
        left = left[: one.candidates]
        scores = {index: score(item, one) for index, item in enumerate(left)}
        order = sorted(
            (index for index in scores if scores[index] is not None), key=lambda index: -scores[index]
        )
        if not order:
            raise FloatingPointError(
                f"No candidate could be trained to epoch {one.until}: each loss became NaN or infinite. "
                f"Repeat with `halve_at_nan=3`, or use a lower `learning_rate` in another `output_dir`."
            )
        left = [left[index] for index in order]
    return left
