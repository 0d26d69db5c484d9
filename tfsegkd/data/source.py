"""The interface of data sets: images and masks by index."""

import hashlib
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd.data.image_cache import Example, ImageCache
from tfsegkd.deprecation import renamed

IGNORE_LABEL = 255
# In batches, the label of unlabelled pixels, for which teacher outputs are used, unlike for void.
UNLABELLED = -1
# Files of text are hashed if all of a source are at most this large.
_TEXT, _MOST_HASHED = (".json", ".txt", ".xml"), 64 << 20


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

    def files_of(self, index: int) -> tuple[Path, ...]:
        """Returns the files that an example is read from, if any: the image first, then its labels."""
        return ()

    def fingerprint(self) -> str:
        """Returns a hash of the examples' names and of the first and last example.

        If examples have files, a hash of the size of each follows after a hyphen, and of the content of small
        annotations. It does not depend on where and when the files were written, and an edit that keeps the
        size of an image or a mask is not seen.
        """
        digest = hashlib.sha256("\n".join(self.names).encode())
        for index in sorted({0, len(self) - 1}):
            for array in self.read(index):
                digest.update(np.ascontiguousarray(array).tobytes())
        files = dict.fromkeys(path for index in range(len(self)) for path in self.files_of(index))
        return "-".join([digest.hexdigest()[:16], *([_hash_of(files)] if files else ())])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Example {index} of {len(self)}.")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Example]:
        return (self.read(index) for index in range(len(self)))


def same_fingerprint(one: str, other: str) -> bool:
    """Whether two fingerprints are of the same examples; older ones, without a hyphen, lack the files."""
    (examples, _, files), (other_examples, _, other_files) = one.partition("-"), other.partition("-")
    return examples == other_examples and (files == other_files or not files or not other_files)


def _hash_of(files: Collection[Path]) -> str:
    sizes = {path: path.stat().st_size for path in files}
    text = [path for path in files if path.suffix.lower() in _TEXT]
    digest = hashlib.sha256(" ".join(map(str, sizes.values())).encode())
    if sum(sizes[path] for path in text) <= _MOST_HASHED:
        for path in text:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
