"""Checks of arguments; messages say what was expected, what was received, and how to fix it."""

import difflib
import numbers
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any


def one_of(value: Any, choices: Collection, what: str) -> Any:
    """Returns `value` if it is one of `choices`."""
    if value not in choices:
        hint = did_you_mean(value, choices)
        raise ValueError(f"{what} must be one of {list(choices)}. Received: {value!r}.{hint}")
    return value


def did_you_mean(value: Any, choices: Collection) -> str:
    """Suggests the most similar of `choices`, as the end of an error message; empty if none is similar."""
    by_text = {str(choice): choice for choice in choices}
    close = difflib.get_close_matches(str(value), by_text, n=1)
    return f" Did you mean {by_text[close[0]]!r}?" if close else ""


def in_range(value: float, low: float, high: float, what: str) -> float:
    """Returns `value` if it is a number with low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} must be a number from {low} to {high}. Received: {value!r}.")
    return value


def positive(value: float, what: str) -> float:
    """Returns `value` if it is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{what} must be a number above 0. Received: {value!r}.")
    return value


def whole(value: int, low: int, what: str, high: int | None = None) -> int:
    """Returns `value` if it is a whole number of at least `low`, and at most `high` if there is one."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        up_to = "up" if high is None else f"to {high}"
        raise ValueError(f"{what} must be a whole number from {low} {up_to}. Received: {value!r}.")
    return int(value)


def quoted(error: Exception, longest: int = 200) -> str:
    """The message of another library's error, to stand inside a message of ours: one line, without colors.

    Args:
        longest: Number of characters; what is longer ends in an ellipsis.
    """
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()).rstrip(".")
    return line if len(line) <= longest else line[: longest - 1] + "…"


def text_of(path: Path, expected: str) -> str:
    """Returns the content of a text file; `expected` describes it in the error message.

    Raises:
        ValueError: if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not UTF-8 text. Expected {expected}. Save it as UTF-8.") from None
