"""Flagfiles: a flag on each line, of which `--flagfile=FILE` includes another file.

As on the command line, the last value of a flag counts. The values of a flag that can be repeated, such as
--distill, count together if they come from one file or from the command line; those of the source that is
read last replace all others. So what a user types replaces what the flagfile before it says.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from absl import flags

from tfsegkd.commands.flag_names import REPEATED

FLAGS = flags.FLAGS


def expand(arguments: Sequence[str]) -> list[str]:
    """Returns a command line without --flagfile: with the flags of the files in its place.

    Args:
        arguments: The words of the command line, without the command itself.

    Raises:
        flags.Error: if a file cannot be opened, or includes itself.
        UnicodeDecodeError: if a file is not UTF-8.
    """
    given = list(_read(arguments, ()))
    last = {name: source for source, name, _ in given}
    return [
        word
        for source, name, words in given
        if name not in REPEATED or source is last[name]
        for word in words
    ]


def name_of(word: str) -> str:
    """The name of the flag that a word such as `--epochs=3` sets."""
    return word.lstrip("-").partition("=")[0]


def replace(shared: Sequence[str], own: Sequence[str]) -> list[str]:
    """Returns `shared` without the values of repeated flags that `own` replaces."""
    replaced = {name_of(word) for word in own} & {*REPEATED}
    return [word for word in shared if name_of(word) not in replaced]


def _read(arguments: Iterable[str], files: tuple[str, ...]) -> Iterator[tuple[object, str | None, list[str]]]:
    """Yields the source, the name and the words of each flag."""
    source = object()
    for name, words in _by_flag(arguments):
        if name != "flagfile":
            yield source, name, words
            continue
        path = words[1] if len(words) > 1 else words[0].partition("=")[2]
        if path in files:
            raise flags.Error(f"The flagfile {path!r} includes itself. Remove that line.")
        if path:
            yield from _read(_lines(path), (*files, path))


def _by_flag(arguments: Iterable[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Yields the name and the words of each flag; without a name the words from the first other one on."""
    words = iter(arguments)
    for word in words:
        name = name_of(word)
        if not (word.startswith("-") and name):
            yield None, [word, *words]
            return
        has_value = "=" in word or name not in FLAGS or FLAGS[name].boolean
        yield name, [word] if has_value else [word, *itertools.islice(words, 1)]


def _lines(path: str) -> list[str]:
    """Returns the flags of a file."""
    try:
        text = Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    except OSError as error:
        raise flags.Error(f"Unable to open flagfile {path!r}: {error.strerror}.") from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "//"))]
