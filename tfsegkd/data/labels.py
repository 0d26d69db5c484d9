"""Names and colors of classes."""

import colorsys
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tfsegkd.data.masks import Color
from tfsegkd.data.paths import lines
from tfsegkd.data.source import IGNORE_LABEL

_VOID = "void"


def read_labels(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads the names of classes, one per line, in label order.

    Args:
        path: A text file in UTF-8.

    Returns:
        The names.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has fewer than two names, too many, or repeated ones.

    Example:
        Path("labels.txt").write_text("ground\\nsky\\n")
        data.read_labels("labels.txt")  # ('ground', 'sky')
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No {str(path)!r}. Expected the name of a class on each line, in label order."
        )
    names = tuple(line for _, line in lines(path))
    if len(names) == 1:
        raise ValueError(
            f"{str(path)!r} has 1 name: {list(names)}. Expected 2 to {IGNORE_LABEL} different ones: pixels "
            f"without {names[0]!r} have a class, too. Write 'background' on a separate line before it."
        )
    if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORE_LABEL:
        raise ValueError(
            f"{str(path)!r} has {len(names)} names: {list(names)[:5]}. Expected 2 to {IGNORE_LABEL} "
            f"different ones, one per line."
        )
    return names


def read_colors(path: str | os.PathLike, class_names: Sequence[str]) -> dict[Color, int]:
    """Reads the colors of classes, `red green blue name` on each line.

    A class may have several colors. The name `void` stands for void, unless it is a class. Without names,
    line n is the color of class n.

    Args:
        path: A text file.
        class_names: All classes, in the order of their labels.

    Returns:
        The label of each color.

    Raises:
        ValueError: for a line of another form, an unknown name, a color that occurs twice, or a class
            without a color.

    Example:
        Path("colors.txt").write_text("90 60 30 ground\\n120 180 250 sky\\n")
        data.read_colors("colors.txt", ("ground", "sky"))  # {(90, 60, 30): 0, (120, 180, 250): 1}
    """
    path, colors = Path(path), {}
    expected = f"Expected 'red green blue name', each 0…255, with a name of {list(class_names)} or {_VOID!r}."
    for number, line in lines(path):
        match = re.fullmatch(r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?:[\s,;]+(.+))?", line)
        where = f"Line {number} of {str(path)!r} is {line!r}"
        color = tuple(int(part) for part in match.groups()[:3]) if match else (256,)
        if max(color) > 255:
            raise ValueError(f"{where}. {expected}")
        name = match[4] or (class_names[len(colors)] if len(colors) < len(class_names) else "")
        if name not in class_names and name.lower() != _VOID:
            raise ValueError(f"{where}, and {name!r} is no class. {expected}")
        if color in colors:
            raise ValueError(f"{where}, a repeated color. Keep one of the two lines.")
        colors[color] = class_names.index(name) if name in class_names else IGNORE_LABEL
    missing = [name for label, name in enumerate(class_names) if label not in colors.values()]
    if missing:
        raise ValueError(f"{str(path)!r} has no color for {missing}. {expected}")
    return colors


def distinct_colors(count: int) -> tuple[Color, ...]:
    """Returns distinct colors, an (R, G, B) for each of `count` labels.

    Args:
        count: How many.

    Returns:
        Colors from 0 to 255, all different.

    Example:
        len(set(data.distinct_colors(19)))  # 19
    """
    # Golden-ratio steps give neighbouring labels distant hues.
    hsv = ((0.618 * n % 1, 0.85 - 0.3 * (n % 2), 0.95 - 0.35 * (n % 3 == 1)) for n in range(count))
    return tuple(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*color)) for color in hsv)
