"""Reading JSON files of any size, one element at a time."""

import json
import os
from collections.abc import Iterator
from typing import Any

_CHUNK = 1 << 20  # characters
_LONGEST = 1 << 27  # maximum of one element
_SPACE = " \t\n\r"


def elements(path: str | os.PathLike) -> Iterator[tuple[str, Any]]:
    """Yields the content of a JSON object, with one element in memory at a time.

    Args:
        path: The file.

    Yields:
        The key and the value of each entry; for an array, the key and each element.

    Raises:
        ValueError: if the file is no JSON object in UTF-8; the message names it.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _entries(_Text(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} cannot be read: {error}. Expected a JSON object, whole and in UTF-8. "
            f"Export it again."
        ) from None


def _entries(text):
    text.expect("{")
    if text.next() == "}":
        return
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise ValueError(f"a key is {str(key)[:40]!r}")
        text.expect(":")
        if text.next() == "[":
            text.expect("[")
            while text.next() != "]":
                yield key, text.value()
                if text.next() == "]":
                    break
                text.expect(",")
                if text.next() == "]":
                    raise ValueError("an array ends in a comma")
            text.expect("]")
        else:
            yield key, text.value()
        if text.next() == "}":
            return
        text.expect(",")


class _Text:
    """The unread part of a file.

    Args:
        file: An open text file.
    """

    def __init__(self, file):
        self._file, self._text, self._at = file, "", 0
        self._decoder = json.JSONDecoder(parse_constant=_no_number)

    def _more(self, length: int = 0) -> bool:
        if len(self._text) - self._at > _LONGEST:
            raise ValueError(f"one of its elements has more than {_LONGEST} characters")
        more = self._file.read(max(length, _CHUNK))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def next(self) -> str:
        """Returns the next character that is no space, without consuming it."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise ValueError("it ends too early")

    def expect(self, character: str) -> None:
        found = self.next()
        if found != character:
            raise ValueError(f"{self._text[self._at : self._at + 20]!r} found instead of {character!r}")
        self._at += 1

    def value(self) -> Any:
        """Reads the next value."""
        self.next()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # A value that cannot be decoded may be incomplete: double the buffer.
                if not self._more(len(self._text) - self._at):
                    raise ValueError(str(error)) from None
                continue
            # A number at the end of the buffer may be incomplete.
            if end == len(self._text) and self._more():
                continue
            self._at = end
            return found


def _no_number(name):
    raise ValueError(f"{name} is no number of JSON")
