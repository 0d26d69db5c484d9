"""`Member`: a teacher of an ensemble, with its own options and weight."""

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
    """A teacher with its own options, for `load_teacher` and ensembles.

    Args:
        teacher: Anything that `load_teacher` takes.
        name: The name in messages, reports and layer names ('name/layer'); by default that of the file or the
            network.
        weight: The weight of its probabilities in the mean.
        size: (height, width) to which images are resized for it.
        class_map, teacher_classes, normalize, windows, flip, scales, output: As of `load_teacher`. A class
            map may lack classes that other members have.

    Raises:
        ValueError: for a weight that is negative or not finite, or an invalid size.

    Example:
        mirrored = distillation.Member(student, name="mirrored", weight=0.5, flip=True)
        both = distillation.load_teacher([teacher, mirrored])
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
                f"The weight of teacher {self.label!r} must be finite and not negative. Received: "
                f"{self.weight!r}."
            )
        if self.size is not None:
            for side in self.size:
                checks.whole(side, 1, f"size of teacher {self.label!r}")

    @property
    def label(self) -> str:
        """The name, as far as it is known before the teacher is loaded."""
        if self.name is not None:
            return self.name
        if isinstance(self.teacher, str | os.PathLike):
            return Path(self.teacher).stem
        return getattr(self.teacher, "name", None) or getattr(
            self.teacher, "__name__", type(self.teacher).__name__
        )

    @property
    def is_plain(self) -> bool:
        """Whether all options have their defaults."""
        return dataclasses.replace(self, teacher=None) == Member(None)

    def files(self) -> list[str]:
        """The files, besides the network, on which its outputs depend."""
        return [
            os.fspath(file)
            for file in (self.class_map, self.teacher_classes)
            if isinstance(file, str | os.PathLike)
        ]


def parse_members(text: str) -> list[Member]:
    """Parses the text of a list of members, such as `own.keras,city.tflite(class_map=FILE,weight=0.5)`.

    Args:
        text: Paths separated by commas, each optionally followed by options of `Member` in parentheses:
            `name`, `weight`, `size=HEIGHTxWIDTH`, `class_map`, `teacher_classes`,
            `normalize=(mean,deviation)`, `windows`, `flip`, `scales=(0.75,1)` and `output`.

    Returns:
        A member for each path.

    Raises:
        ValueError: for an option that is unknown, repeated or has an invalid value.

    Example:
        teacher.save("own.keras")
        members = distillation.parse_members("own.keras,own.keras(name=two,weight=0.5)")
        [member.weight for member in members]  # [1.0, 0.5]
    """
    return [_member(path, options) for path, options in split_members(text)]


def split_members(text: str) -> list[tuple[str, str | None]]:
    """Splits the text into paths, each with the text of its options, or None."""
    return [_split_options(part.strip()) for part in _split(text, ",")]


def _split_options(part):
    # The last group of parentheses: an existing path may contain some, too.
    if Path(part).exists():
        return part, None
    if part.count("(") > part.count(")"):
        raise ValueError(
            f"Cannot read the teacher {part!r}. Expected a path, with its options in parentheses; a ')' is "
            f"missing."
        )
    if not part.endswith(")"):
        return part, None
    depth = 0
    for index in reversed(range(len(part))):
        depth += {")": 1, "(": -1}.get(part[index], 0)
        if not depth:
            return part[:index], part[index + 1 : -1]
    return part, None


def _split(text: str, separator: str) -> Iterator[str]:
    """Yields the parts of `text` between separators outside of brackets."""
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
    "weight": "a number of at least 0",
    "size": "HEIGHTxWIDTH in pixels, such as 360x480",
    "normalize": "(mean, deviation), each a number or three",
    "windows": "true or false",
    "flip": "true or false",
    "scales": "numbers above 0, such as (0.75,1,1.25)",
}
