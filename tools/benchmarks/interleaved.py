"""Timing several things side by side, so that what slows the machine down hits all alike."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tfsegkd import checks
from tfsegkd.progress_bar import counted


@dataclass(frozen=True)
class Seconds:
    """What one thing took, round by round.

    Attributes:
        wall: By the clock on the wall.
        cpu: Of all processors together, which other processes disturb less.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


def interleaved(
    cases: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2
) -> dict[str, Seconds]:
    """Runs every case once a round, to and fro, and times each run.

    Args:
        cases: What to run, by name.
        rounds: Timed rounds.
        warmup: Rounds before, in which functions are traced.

    Raises:
        ValueError: unless there is a round to time.
    """
    checks.positive(rounds, "rounds")
    seconds = {name: [] for name in cases}
    for number in counted(range(warmup + rounds), "timing", "rounds"):
        # The other way round every other time, or a machine that slows down would favour the first case.
        for name in list(cases)[:: -1 if number % 2 else 1]:
            cpu, wall = _cpu_seconds(), time.perf_counter()
            cases[name]()
            taken = time.perf_counter() - wall, _cpu_seconds() - cpu
            if number >= warmup:
                seconds[name].append(taken)
    return {name: Seconds(*zip(*taken, strict=True)) for name, taken in seconds.items()}


def ratio(whole: tuple[float, ...], *parts: tuple[float, ...]) -> float:
    """The median over the rounds of `whole` over the sum of `parts`."""
    return statistics.median(one / sum(rest) for one, *rest in zip(whole, *parts, strict=True))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
