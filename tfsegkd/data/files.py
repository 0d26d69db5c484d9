"""A source of image and mask files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfsegkd.data.images import read_image, size_and_orientation
from tfsegkd.data.masks import LabelReader, MaskReading
from tfsegkd.data.paths import Pair
from tfsegkd.data.source import DatasetInfo, Source


class FileSource(Source):
    """Pairs of image and mask files, read on access.

    Args:
        info: The classes.
        pairs: (image, mask) paths.
        reading: How masks are read.
        names: The names of the examples; the images' file names by default.
        notes: As of `Source`.

    Raises:
        FileNotFoundError: if a file is missing; the message names the first few.
    """

    def __init__(
        self,
        info: DatasetInfo,
        pairs: Sequence[Pair],
        reading: MaskReading = MaskReading(),  # noqa: B008 (it is frozen)
        names: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ):
        super().__init__(info, list(names or (image.name for image, _ in pairs)))
        missing = [str(path) for pair in pairs for path in pair if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} files of {info.name} are missing, the first: {missing[:3]}. Expected an "
                f"image and a mask for every example. Complete the directory or correct `data_dir`."
            )
        self.pairs = list(pairs)
        self.notes = tuple(notes)
        self._labels, self._like_image = LabelReader(info, reading), reading.like_image

    def files_of(self, index: int) -> tuple[Path, ...]:
        return self.pairs[index]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        orientation = size_and_orientation(image_path)[1] if self._like_image else 1
        labels = self._labels(mask_path, orientation)
        if image.shape[:2] != labels.shape:
            turned = " One of them is rotated; images are read upright." * (
                image.shape[:2] == labels.shape[::-1]
            )
            raise ValueError(
                f"Image {str(image_path)!r} is {_size(image)} but its mask {str(mask_path)!r} is "
                f"{_size(labels)} (height × width).{turned} Expected equal sizes; export the mask again."
            )
        return image, labels


def _size(array):
    return f"{array.shape[0]}×{array.shape[1]}"
