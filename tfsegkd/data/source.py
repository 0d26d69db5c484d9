"""The interface of data sets: images and masks by index."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tfsegkd.data.image_cache import Example, ImageCache
from tfsegkd.deprecation import renamed

IGNORE_LABEL = 255
# In batches, the label of unlabelled pixels, for which teacher outputs are used, unlike for void.
UNLABELLED = -1


@dataclass(frozen=True)
class DatasetInfo:
    """The classes of a data set.

    Args:
        name: The name of the data set.
        class_names: The name of each class, by label.
        palette: An (R, G, B) color for each class, 0…255.
        ignore_label: The label of void pixels in masks.

    Example:
        info = data.DatasetInfo("yard", ("ground", "sky"), palette=((90, 60, 30), (120, 180, 250)))
        info.num_classes  # 2
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_label: int = IGNORE_LABEL

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def spread(length: int, count: int) -> list[int]:
    """Returns at most `count` evenly spaced numbers below `length`, including the first and the last."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()


class Source:
    """A split of a data set. Subclasses set `names` and implement `read`.

    Iterating or indexing returns (image, mask) pairs.

    Args:
        info: The classes.
        names: A unique name for each example.

    Shapes:
        image: (H, W, 3), uint8, RGB. H and W may differ between examples.
        mask: (H, W), uint8 labels; `info.ignore_label` is void.

    Attributes:
        labelled: Whether there are labels; False for images only.
        notes: A sentence for each inferred convention, such as the meaning of white in masks.
        cache_bytes: The maximum number of cached bytes at each size; other examples are decoded each time.

    Example:
        class Halves(data.Source):
            '''Frames that are dark on one side and bright on the other.'''

            def __init__(self):
                info = data.DatasetInfo("halves", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))
                super().__init__(info, ["first", "second"])

            def read(self, index):
                mask = np.zeros((32, 48), np.uint8)
                mask[:, 12 * (1 + index) :] = 1
                return np.repeat(200 * mask[..., None], 3, axis=2), mask

        image, mask = Halves()[1]
        image.shape, mask.shape  # ((32, 48, 3), (32, 48))
    """

    labelled = True
    notes: tuple[str, ...] = ()
    cache_bytes = 4 << 30

    def __init__(self, info: DatasetInfo, names: list[str]):
        self.info = info
        self.names = names
        self._caches: dict[tuple[int, int], ImageCache] = {}
        self._caches_lock = threading.Lock()

    def read(self, index: int) -> Example:
        raise NotImplementedError

    def resized(self, size: tuple[int, int]) -> Callable[..., Example]:
        """Returns a function from index to image and mask at one size; decoded examples are cached.

        The second argument is the example, if the caller has read it already.
        """
        with self._caches_lock:
            size = tuple(size)
            return self._caches.setdefault(size, ImageCache(self.read, size, self.cache_bytes))

    frames = renamed(resized)

    def fingerprint(self) -> str:
        """Returns a hash of the examples' names and of the first and last example."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for index in sorted({0, len(self) - 1}):
            for array in self.read(index):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Example {index} of {len(self)}.")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Example]:
        return (self.read(index) for index in range(len(self)))
