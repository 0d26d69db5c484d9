"""Unlabelled images."""

import os
from pathlib import Path

import numpy as np

from tfsegkd.data.images import IMAGE_SUFFIXES, read_image
from tfsegkd.data.labels import distinct_colors, read_labels
from tfsegkd.data.paths import directory, files_in
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source


def _placeholder(shape: tuple[int, int], info: DatasetInfo) -> np.ndarray:
    """Returns a mask without labels, which is not void either."""
    return np.full(shape, int(info.ignore_label == 0), np.uint8)


class UnlabelledImages(Source):
    """All image files below a directory, without labels.

    Args:
        root: The directory, with its sub-directories.
        info: The classes of the labelled data set.

    Raises:
        FileNotFoundError: if it is not a directory.
        ValueError: if it contains no image.

    Example:
        Path("photos").mkdir()
        Image.fromarray(source[0][0]).save("photos/one.jpg")
        frames = data.UnlabelledImages("photos", info)
        len(frames), frames.labelled  # (1, False)
    """

    labelled = False

    def __init__(self, root: str | os.PathLike, info: DatasetInfo):
        root = directory(root, "unlabelled images")
        self.paths = files_in(root, IMAGE_SUFFIXES, below=True)
        if not self.paths:
            raise ValueError(
                f"No image in {str(root)!r}. Expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        super().__init__(info, [str(Path(path).relative_to(root)) for path in self.paths])

    def files_of(self, index: int) -> tuple[Path, ...]:
        return (self.paths[index],)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image and an empty mask."""
        image = read_image(self.paths[index])
        return image, _placeholder(image.shape[:2], self.info)


@datasets.register("unlabelled")
def unlabelled(split: str, data_dir=None) -> UnlabelledImages:
    """All images below a directory, without labels, for distillation or prediction.

    Args:
        split: A sub-directory, if it exists; else every split is the whole directory.
        data_dir: The directory. A `labels.txt` in it has the classes; without it, training uses those of the
            validation data set.

    Raises:
        FileNotFoundError: if it is not a directory.
        ValueError: if it contains no image.
    """
    root = directory(data_dir, "unlabelled")
    names = read_labels(root / "labels.txt") if (root / "labels.txt").is_file() else ()
    info = DatasetInfo("unlabelled", names, distinct_colors(len(names)))
    return UnlabelledImages(root / split if (root / split).is_dir() else root, info)


class WithoutLabels(Source):
    """The images of another source, without its labels.

    Args:
        source: The other source.

    Example:
        frames = data.WithoutLabels(source)
        len(frames), frames.labelled  # (8, False)
    """

    labelled = False

    def __init__(self, source: Source):
        super().__init__(source.info, source.names)
        self._source = source

    def files_of(self, index: int) -> tuple[Path, ...]:
        return self._source.files_of(index)[:1]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image and an empty mask."""
        image, mask = self._source.read(index)
        return image, _placeholder(mask.shape, self.info)

    def resized(self, size):
        """Uses the cache of the other source."""
        images = self._source.resized(size)

        def without_labels(index, example=None):
            image, mask = images(index)
            return image, _placeholder(mask.shape, self.info)

        return without_labels

    def fingerprint(self) -> str:
        # Teacher outputs do not depend on labels.
        return self._source.fingerprint()
