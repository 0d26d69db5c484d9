"""Reading every example once before a training depends on it."""

import concurrent.futures
import math
from dataclasses import dataclass

import numpy as np

from tfsegkd.data.source import Source


@dataclass(frozen=True)
class Survey:
    """What reading a whole split showed.

    Args:
        source: The examples that can be read.
        pixels: How many pixels each class has; the last count is void.
        bad: What is wrong with each example that was left out, by name.
    """

    source: Source
    pixels: tuple[int, ...]
    bad: dict[str, str]

    def class_weights(self) -> tuple[float, ...]:
        """Weights that make rare classes count more: 1 / ln(1.02 + share of the valid pixels).

        Reference:
            Paszke et al., ENet, 2016, https://arxiv.org/abs/1606.02147, section 5.1.
        """
        valid = max(sum(self.pixels[:-1]), 1)
        return tuple(1 / math.log(1.02 + count / valid) for count in self.pixels[:-1])


def survey(source: Source, skip_bad: bool = False) -> Survey:
    """Reads every example of a split.

    Args:
        source: The split.
        skip_bad: Leave out what cannot be read instead of stopping there.

    Raises:
        ValueError: for the first example that cannot be read, unless `skip_bad`; or if none can.
    """

    def count(index):
        try:
            _, mask = source[index]
        except ValueError as error:
            return error
        return np.bincount(mask.ravel(), minlength=256)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(count, range(len(source))))
    bad = {source.names[n]: str(result) for n, result in enumerate(results) if isinstance(result, ValueError)}
    if bad and not skip_bad:
        first = next(iter(bad.values()))
        more = f" ({len(bad) - 1} more like it.)" if len(bad) > 1 else ""
        raise ValueError(f"{first}{more}")
    if len(bad) == len(source):
        raise ValueError(f"None of the {len(source)} examples of {source.info.name!r} can be read.")
    good = [n for n, result in enumerate(results) if not isinstance(result, ValueError)]
    counts = sum(results[n] for n in good)
    pixels = (*counts[: source.info.num_classes].tolist(), int(counts[source.info.ignore_label]))
    return Survey(Subset(source, good) if bad else source, pixels, bad)


class Subset(Source):
    """Some examples of another source.

    Args:
        source: The other source.
        indices: Which of its examples.
    """

    def __init__(self, source: Source, indices: list[int]):
        super().__init__(source.info, [source.names[index] for index in indices])
        self._source, self._indices, self.labelled = source, indices, source.labelled

    def read(self, index):
        return self._source.read(self._indices[index])
