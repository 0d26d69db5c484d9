"""Work that takes long shows that it goes on."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# Seconds after which people wonder whether something has gone wrong.
PATIENCE = 2.0
_REFRESH = 0.5


def counted(
    items: Iterable[Item], what: str, unit: str = "batches", total: int | None = None
) -> Iterator[Item]:
    """Yields `items`, with a bar that shows how many are done and how long the others will take.

    Nothing is shown of what takes less than two seconds. Where standard output is no terminal, one line at
    the end says how long it took.

    Args:
        items: What to go through.
        what: What is done with them, for whoever watches.
        unit: What they are, in the plural.
        total: How many there are, if `items` does not know.
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
    """Shows how long the work inside has taken, where nobody knows how much of it is left.

    Quiet as `counted` is.

    Args:
        what: What is done, for whoever watches.

    Returns:
        A function that takes words on how far it is.
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
