"""A network that people bring: how it is built, and what has to be said of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Form:
    """One network.

    Args:
        build: Builds it.
        size: (height, width) of the images.
        options: What `adopt` has to be told.
        teacher_options: What `load_teacher` has to be told.
    """

    build: Callable[[], Any]
    size: tuple[int, int] = (96, 128)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    teacher_options: dict[str, Any] = dataclasses.field(default_factory=dict)
