"""One of several teachers: where it comes from, how it looks at images, and how much it counts."""

import ast
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfsegkd import checks
from tfsegkd.distillation.teachers.class_map import ClassMap

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


@dataclasses.dataclass(frozen=True)
class Member:
    """A teacher with options of its own, for `load_teacher` and the mean of several.

    Args:
        teacher: Whatever `load_teacher` takes.
        name: What messages, reports and feature layers ('name/layer') call it; the name of its file, or of
            the network, unless given.
        weight: How much its probabilities count beside those of the others.
        size: (height, width) at which it sees images, whatever the size of the others' images.
        class_map, teacher_classes, normalize, windows, flip, scales, output: As of `load_teacher`. Beside
            teachers that cover all classes, a class map may leave out some of them.

    Raises:
        ValueError: for a weight that is below 0 or not finite, or a size that is none.

    Example:
        load_teacher([own, Member("city.tflite", class_map="map.txt", windows=True)], class_names=names)
    """

    teacher: Any
    name: str | None = None
    weight: float = 1.0
    size: tuple[int, int] | None = None
    class_map: ClassMap | str | os.PathLike | None = None
    teacher_classes: Sequence[str] | str | os.PathLike | None = None
    normalize: tuple | None = None
    windows: bool = False
    flip: bool = False
    scales: Sequence[float] = (1.0,)
    output: str | None = None

    def __post_init__(self):
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not number or not 0 <= self.weight < math.inf:
            raise ValueError(
                f"The weight of teacher {self.label!r} must be a number that is not below 0. Received: "
                f"{self.weight!r}."
            )
        if self.size is not None:
            for side in self.size:
                checks.whole(side, 1, f"size of teacher {self.label!r}")

    @property
    def label(self) -> str:
        """Its name, as far as it is known before it is loaded."""
        if self.name is not None:
            return self.name
        if isinstance(self.teacher, str | os.PathLike):
            return Path(self.teacher).stem
        return getattr(self.teacher, "name", None) or getattr(
            self.teacher, "__name__", type(self.teacher).__name__
        )

    @property
    def is_plain(self) -> bool:
        """Whether it has no options of its own."""
        return dataclasses.replace(self, teacher=None) == Member(None)

    def files(self) -> list[str]:
        """The files beside the network itself that decide what it says."""
        return [
            os.fspath(file)
            for file in (self.class_map, self.teacher_classes)
            if isinstance(file, str | os.PathLike)
        ]


def parse_members(text: str) -> list[Member]:
    """Reads a list of teachers, such as `own.keras,city.tflite(class_map=FILE,weight=0.5)`.

    Args:
        text: Paths with commas between, each with options of `Member` in parentheses, or without: `name`,
            `weight`, `size=HEIGHTxWIDTH`, `class_map`, `teacher_classes`, `normalize=(mean,deviation)`,
            `windows`, `flip`, `scales=(0.75,1)` and `output`.

    Raises:
        ValueError: for an option that is unknown, comes twice or has a value that cannot be read.
    """
    return [_member(path, options) for path, options in split_members(text)]


def split_members(text: str) -> list[tuple[str, str | None]]:
    """The paths in a list of teachers, each with what stands in parentheses behind it, or None."""
    return [_split_options(part.strip()) for part in _split(text, ",")]


def _split_options(part):
    # The last group of parentheses: a path may hold some too, and then is there.
    if not part.endswith(")") or Path(part).exists():
        return part, None
    depth = 0
    for index in reversed(range(len(part))):
        depth += {")": 1, "(": -1}.get(part[index], 0)
        if not depth:
            return part[:index], part[index + 1 : -1]
    return part, None


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of `text` between separators outside all brackets."""
    begin, depth = 0, 0
    for index, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == separator and depth <= 0:
            yield text[begin:index]
            begin = index + 1
    yield text[begin:]


def _member(path, options):
    if not path:
        raise ValueError(
            "A teacher has no path. Expected paths with one comma between, such as own.keras,city.tflite."
        )
    given = {}
    for option in _split(options, ",") if options and options.strip() else ():
        key, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not value or key in given:
            raise ValueError(
                f"Cannot read {option.strip()!r} of teacher {path!r}. Expected key=value, each key once, of "
                f"{list(_READ)}."
            )
        checks.one_of(key, list(_READ), f"An option of teacher {path!r}")
        try:
            given[key] = _READ[key](value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise ValueError(
                f"{key}={value} of teacher {path!r} cannot be read. Expected {_EXPECTED[key]}."
            ) from None
    return Member(path, **given)


def _word(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(value)
    return value.lower() == "true"


def _size(value: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(value.lower())
    if match is None:
        raise ValueError(value)
    return int(match[1]), int(match[2])


def _numbers(value: str) -> tuple[float, ...]:
    read = ast.literal_eval(value)
    return tuple(map(float, read if isinstance(read, tuple | list) else [read]))


def _pair(value: str) -> tuple:
    mean, deviation = ast.literal_eval(value)
    return mean, deviation


_READ: dict[str, Callable[[str], Any]] = {
    "name": _word,
    "weight": float,
    "size": _size,
    "class_map": _word,
    "teacher_classes": _word,
    "normalize": _pair,
    "windows": _truth,
    "flip": _truth,
    "scales": _numbers,
    "output": _word,
}
_EXPECTED = {
    "weight": "a number that is not below 0",
    "size": "HEIGHTxWIDTH in pixels, such as 360x480",
    "normalize": "(mean, deviation), each a number or three",
    "windows": "true or false",
    "flip": "true or false",
    "scales": "numbers above 0, such as (0.75,1,1.25)",
}
