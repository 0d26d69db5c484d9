"""`load`: data sets by name."""

import os

from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source
from tfsegkd.spec import Spec, parse

_TFDS = "tfds"


def names() -> list[str]:
    """Returns the names of all data sets."""
    return list(describe())


def describe() -> dict[str, str]:
    """Returns a sentence about each data set."""
    sentences = datasets.describe().items()
    return {f"{name}:NAME" if name == _TFDS else name: sentence for name, sentence in sentences}


def load(spec: str | Spec, split: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Returns a split of a data set.

    Args:
        spec: The data set and its options, such as `'road_scenes'`, `"camvid(without='0006R0')"` or
            `'tfds:oxford_iiit_pet'`. The option `data_dir` overrides the argument.
        split: 'train', 'val', … as named by the data set.
        data_dir: The directory of its files; not needed for `road_scenes`.

    Raises:
        ValueError: for an unknown data set, option or split.
        FileNotFoundError: for missing files; the message names them.
    """
    spec = parse(spec) if isinstance(spec, str) else spec
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
