"""`load`: data sets by name."""

import os
from collections.abc import Callable

from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source
from tfsegkd.spec import Spec, parse_named

_TFDS = "tfds"


def register(name: str) -> Callable[[Callable], Callable]:
    """Returns a decorator: `load` and commands know the data set by `name` from then on.

    The function takes the split, `data_dir` and the data set's options, and returns a `Source`.

    Args:
        name: One word, which no other data set has.

    Returns:
        A decorator that returns its function as it is.

    Raises:
        ValueError: if another data set has the name.

    Example:
        @data.register("ten_scenes")
        def ten_scenes(split, data_dir=None):
            "Ten generated scenes."
            return data.load("road_scenes(height=32, width=48, num_images=10)", split)

        len(data.load("ten_scenes", "val"))  # 10
    """
    return datasets.register(name)


def names() -> list[str]:
    """Returns the names of all data sets.

    Returns:
        The names, sorted.

    Example:
        "camvid" in data.names()  # True
    """
    return list(describe())


def describe() -> dict[str, str]:
    """Returns a sentence about each data set.

    Returns:
        A sentence by name.

    Example:
        for name, sentence in data.describe().items():
            print(f"{name}: {sentence}")
    """
    sentences = datasets.describe().items()
    return {f"{name}:NAME" if name == _TFDS else name: sentence for name, sentence in sentences}


def load(spec: str | Spec, split: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Returns a split of a data set.

    Args:
        spec: The data set and its options, such as `'road_scenes'`, `"camvid(without='0006R0')"` or
            `'tfds:oxford_iiit_pet'`. The option `data_dir` overrides the argument.
        split: 'train', 'val', … as named by the data set.
        data_dir: The directory of its files; not needed for `road_scenes`.

    Returns:
        The split, read example by example as it is asked for.

    Raises:
        ValueError: for an unknown data set, option or split.
        FileNotFoundError: for missing files; the message names them.

    Example:
        source = data.load("road_scenes(height=32, width=48, num_images=8)", "train")
        image, mask = source[0]
        len(source), image.shape, mask.shape  # (8, (32, 48, 3), (32, 48))
    """
    spec = parse_named(spec) if isinstance(spec, str) else spec
    kind, _, name = spec.name.partition(":")
    extra = {"split": split, "data_dir": data_dir}
    if "data_dir" in spec.arguments:
        del extra["data_dir"]
    if kind == _TFDS:
        if not name:
            raise ValueError("Data set 'tfds' needs a name. Write tfds:NAME, such as tfds:oxford_iiit_pet.")
        extra["name"] = name
    elif name:
        raise ValueError(f"Unknown data set {spec.name!r}. Expected one of {names()}.")
    return datasets.build(Spec(kind, spec.arguments), **extra)
