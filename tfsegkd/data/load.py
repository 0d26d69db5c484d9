"""Data sets by name."""

import os

from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source
from tfsegkd.spec import Spec


def names() -> list[str]:
    """The data sets that `load` knows."""
    return datasets.names()


def load(spec: str | Spec, split: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Opens one split of a data set.

    Args:
        spec: The data set and its options, such as `'road_scenes'` or `"camvid(without='0006R0')"`.
        split: 'train', 'val', … as the data set calls it.
        data_dir: Where its files lie; not needed for `road_scenes`.

    Raises:
        ValueError: for an unknown data set, option or split.
        FileNotFoundError: for files that are not there; the message names them.
    """
    return datasets.build(spec, split=split, data_dir=data_dir)
