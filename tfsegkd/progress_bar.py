"""Progress bars for long work."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# Seconds after which a bar is shown.
PATIENCE = 2.0
_REFRESH = 0.5


def counted(
    items: Iterable[Item], what: str, unit: str = "batches", total: int | None = None
) -> Iterator[Item]:
    """Yields `items` and shows a bar with the number of finished items and the remaining time.

    Nothing is shown for work of less than two seconds. If standard output is not a terminal, one line at
    the end says how long it took.

    Args:
        items: The items.
        what: The description of the work.
        unit: The name of the items, in the plural.
        total: The number of items, if `items` has no length.
    """
    if sys.stdout.isatty():
        yield from tqdm(items, f"  {what}", total, unit=f" {unit}", delay=PATIENCE, file=sys.stdout)
        return
    began, count = time.monotonic(), 0
    for item in items:
        yield item
        count += 1
    _note(f"{what}: {count} {unit}", began)


@contextlib.contextmanager
def waited(what: str) -> Iterator[Callable[[str], None]]:
    """Shows the elapsed time of work whose remaining time is unknown.

    Shows nothing under the same conditions as `counted`.

    Args:
        what: The description of the work.

    Returns:
        A function that takes a description of the progress.
    """
    began, now, done = time.monotonic(), [what], threading.Event()

    def say(how_far: str) -> None:
        now[0] = f"{what}: {how_far}"

    if not sys.stdout.isatty():
        yield say
        _note(now[0], began)
        return
    watch = threading.Thread(target=_show, args=(now, done), daemon=True)
    watch.start()
    try:
        yield say
    finally:
        done.set()
        watch.join()


def _show(now: list[str], done: threading.Event) -> None:
    if done.wait(PATIENCE):
        return
    with tqdm(bar_format="{desc}, {elapsed}", delay=PATIENCE, file=sys.stdout) as bar:
        bar.start_t -= PATIENCE
        ended = False
        while not ended:
            ended = done.wait(_REFRESH)
            bar.set_description_str(f"  {now[0]}")


def _note(what: str, began: float) -> None:
    seconds = time.monotonic() - began
    if seconds > PATIENCE:
        print(f"  {what} in {seconds:.0f} s", flush=True)
