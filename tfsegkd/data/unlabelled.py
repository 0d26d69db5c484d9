"""Frames that nobody has labelled."""

import os
from pathlib import Path

import numpy as np

from tfsegkd.data.files import IMAGE_SUFFIXES, directory, read_image
from tfsegkd.data.source import DatasetInfo, Source


class UnlabelledFrames(Source):
    """All image files below a directory, for a student to learn from its teacher alone.

    Args:
        root: The directory; its sub-directories count.
        info: The classes of the labelled frames that these stand beside.

    Raises:
        FileNotFoundError: if it is no directory.
        ValueError: if it holds no image.
    """

    labelled = False

    def __init__(self, root: str | os.PathLike, info: DatasetInfo):
        root = directory(root, "unlabelled frames")
        self.paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self.paths:
            raise ValueError(
                f"No image in {str(root)!r}. Expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        super().__init__(info, [str(Path(path).relative_to(root)) for path in self.paths])

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The frame, and a mask that says nothing."""
        image = read_image(self.paths[index])
        return image, np.zeros(image.shape[:2], np.uint8)


class WithoutLabels(Source):
    """The frames of another source, as if nobody had labelled them.

    Args:
        source: The other source.
    """

    labelled = False

    def __init__(self, source: Source):
        super().__init__(source.info, source.names)
        self._source = source

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The frame, and a mask that says nothing."""
        image, mask = self._source.read(index)
        return image, np.zeros_like(mask)

    def fingerprint(self) -> str:
        # What a teacher says of the frames does not depend on labels.
        return self._source.fingerprint()
