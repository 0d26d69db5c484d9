"""What every data set looks like from outside: a numbered list of images and masks."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tfsegkd.data.image_cache import Example, ImageCache

IGNORE_LABEL = 255
# In batches, the label of pixels that nobody has labelled: a teacher may speak of them, unlike of void.
UNLABELLED = -1


@dataclass(frozen=True)
class DatasetInfo:
    """What the labels of a data set mean.

    Args:
        name: The data set's name, for messages and reports.
        class_names: The name of each class, by label.
        palette: An (R, G, B) color for each class, 0…255.
        ignore_label: The label of void pixels, in every mask that a source returns.
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_label: int = IGNORE_LABEL

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def spread(length: int, count: int) -> list[int]:
    """At most `count` of the numbers below `length`, at equal distances, from the first to the last."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()


class Source:
    """A split of a data set, by index. Subclasses fill in `names` and `read`.

    Iterating or indexing gives (image, mask) pairs.

    Args:
        info: What the labels mean.
        names: A name for each example, unique in the split.

    Shapes:
        image: (H, W, 3), uint8, RGB. H and W may differ between examples.
        mask: (H, W), uint8 labels; `info.ignore_label` is void.

    Attributes:
        labelled: Whether the masks mean anything; False where there are only images.
        notes: A sentence for each thing about the files that nobody had said and that was decided, such as
            what white means in masks.
        cache_bytes: How many bytes of images are kept at each size; what exceeds it is decoded each time.
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
        """Images and masks at one size, by index; each is decoded once as long as the source lives.

        Whoever has read an example anyway hands it over as the second argument.
        """
        with self._caches_lock:
            size = tuple(size)
            return self._caches.setdefault(size, ImageCache(self.read, size, self.cache_bytes))

    def fingerprint(self) -> str:
        """Tells data sets of one name apart: a hash of the examples' names and of the first and last one."""
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
