"""Frames and masks that lie in files."""

import types
from collections.abc import Mapping, Sequence

import numpy as np

from tfsegkd.data.images import read_image
from tfsegkd.data.masks import Color, LabelReader
from tfsegkd.data.paths import Pair
from tfsegkd.data.source import DatasetInfo, Source


class FileSource(Source):
    """Pairs of an image file and a mask file, read when asked for.

    Args:
        info: What the labels mean.
        pairs: (image, mask) paths.
        relabel: What to read a label of the files as, such as {11: 255} where 11 is void; None refuses it.
        colors: The label of each colour, where masks are in colour.
        names: Names of the examples; the images' file names unless given.

    Raises:
        FileNotFoundError: if a file is missing; the message names the first few.
    """

    def __init__(
        self,
        info: DatasetInfo,
        pairs: Sequence[Pair],
        relabel: Mapping[int, int | None] = types.MappingProxyType({}),
        colors: Mapping[Color, int] | None = None,
        names: Sequence[str] | None = None,
    ):
        super().__init__(info, list(names or (image.name for image, _ in pairs)))
        missing = [str(path) for pair in pairs for path in pair if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} files of {info.name} are missing, the first: {missing[:3]}. Expected an "
                f"image and a mask for every example. Complete the directory or correct --data_dir."
            )
        self.pairs = list(pairs)
        self._labels = LabelReader(info, relabel, colors)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, mask_path = self.pairs[index]
        image, labels = read_image(image_path), self._labels(mask_path)
        if image.shape[:2] != labels.shape:
            turned = " One of them is turned; images are read upright." * (
                image.shape[:2] == labels.shape[::-1]
            )
            raise ValueError(
                f"Image {str(image_path)!r} is {_size(image)} but its mask {str(mask_path)!r} is "
                f"{_size(labels)} (height × width).{turned} Expected equal sizes; export the mask again."
            )
        return image, labels


def _size(array):
    return f"{array.shape[0]}×{array.shape[1]}"
