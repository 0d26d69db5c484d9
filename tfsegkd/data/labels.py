"""Names and colours of classes."""

import colorsys
import os
from pathlib import Path

from tfsegkd.data.source import IGNORE_LABEL


def read_labels(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads the names of classes, one a line, in label order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds fewer than two names, too many, or one twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No {str(path)!r}. Expected the name of a class on each line, in label order."
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(
            f"{str(path)!r} is not UTF-8 text. Expected the name of a class on each line."
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORE_LABEL:
        raise ValueError(
            f"{str(path)!r} holds {len(names)} names: {list(names)[:5]}. Expected 2 to {IGNORE_LABEL} "
            f"different ones, one a line."
        )
    return names


def distinct_colors(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours that are told apart easily, an (R, G, B) for each of `count` labels."""
    # Golden-ratio steps keep neighbouring labels far apart in hue.
    hsv = ((0.618 * n % 1, 0.85 - 0.3 * (n % 2), 0.95 - 0.35 * (n % 3 == 1)) for n in range(count))
    return tuple(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*color)) for color in hsv)
