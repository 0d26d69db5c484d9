"""`dataset_statistics`: reads every example of a split and counts its classes."""

import collections
import concurrent.futures
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tfsegkd.data.source import Source
from tfsegkd.progress_bar import counted


@dataclass(frozen=True)
class DatasetStatistics:
    """The statistics of a split.

    Args:
        source: The readable examples.
        pixels: The number of pixels of each class, then of void.
        bad: The errors of unreadable examples, by name.
        examples: The number of examples with each class, then with void.
        sizes: The number of examples of each (height, width), most frequent first.

    Example:
        statistics = data.dataset_statistics(source)
        dict(zip(info.class_names, statistics.pixels))  # pixels of each class
        statistics.absent()  # ()
        statistics.class_weights()  # for the labels' loss
    """

    source: Source
    pixels: tuple[int, ...]
    bad: dict[str, str]
    examples: tuple[int, ...] = ()
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def absent(self) -> tuple[str, ...]:
        """Returns the classes without a pixel; none for unlabelled images."""
        names = self.source.info.class_names if self.source.labelled else ()
        return tuple(name for name, count in zip(names, self.pixels, strict=False) if not count)

    def class_weights(self) -> tuple[float, ...]:
        """Returns class weights that are higher for rare classes: 1 / ln(1.02 + share of the valid pixels).

        Reference:
            Paszke et al., ENet, 2016, https://arxiv.org/abs/1606.02147, section 5.1.
        """
        valid = max(sum(self.pixels[:-1]), 1)
        return tuple(1 / math.log(1.02 + count / valid) for count in self.pixels[:-1])


def dataset_statistics(
    source: Source, skip_bad: bool = False, size: tuple[int, int] | None = None
) -> DatasetStatistics:
    """Reads every example of a split and returns its statistics.

    Args:
        source: The split.
        skip_bad: Whether to skip unreadable examples instead of raising an error.
        size: (height, width) at which examples are cached, so that every file is decoded only once.

    Returns:
        What was found, and the source without the examples that were skipped.

    Raises:
        ValueError: for the first unreadable example, unless `skip_bad`; or if none is readable.

    Example:
        statistics = data.dataset_statistics(source, skip_bad=True)
        len(statistics.source), statistics.bad  # (8, {})
    """
    keep = source.resized(size) if size else None

    def count(index):
        try:
            image, mask = source[index]
        except ValueError as error:
            return error
        if keep:
            keep(index, (image, mask))
        return np.bincount(mask.ravel(), minlength=256), mask.shape

    with concurrent.futures.ThreadPoolExecutor() as pool:
        counts = pool.map(count, range(len(source)))
        results = list(counted(counts, f"reading {source.info.name}", "examples", len(source)))
    bad = {source.names[n]: str(result) for n, result in enumerate(results) if isinstance(result, ValueError)}
    if bad and not skip_bad:
        first = next(iter(bad.values()))
        more = f" ({len(bad) - 1} more like it.)" if len(bad) > 1 else ""
        raise ValueError(f"{first}{more}")
    if len(bad) == len(source):
        raise ValueError(f"None of the {len(source)} examples of {source.info.name!r} can be read.")
    good = [n for n, result in enumerate(results) if not isinstance(result, ValueError)]
    labels = [*range(source.info.num_classes), source.info.ignore_label]
    counts = np.array([results[n][0] for n in good])[:, labels]
    return DatasetStatistics(
        Subset(source, good) if bad else source,
        tuple(counts.sum(0).tolist()),
        bad,
        tuple((counts > 0).sum(0).tolist()),
        dict(collections.Counter(results[n][1] for n in good).most_common()),
    )


class Subset(Source):
    """A subset of another source.

    Args:
        source: The other source.
        indices: The indices of its examples.
    """

    def __init__(self, source: Source, indices: list[int]):
        super().__init__(source.info, [source.names[index] for index in indices])
        self._source, self._indices = source, indices
        self.labelled, self.notes = source.labelled, source.notes

    def files_of(self, index):
        return self._source.files_of(self._indices[index])

    def read(self, index):
        return self._source.read(self._indices[index])

    def resized(self, size):
        """Uses the cache of the other source."""
        images = self._source.resized(size)
        return lambda index, example=None: images(self._indices[index], example)
