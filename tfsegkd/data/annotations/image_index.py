"""Finding images by the names in annotations."""

import collections
import re
import unicodedata
from pathlib import Path

from tfsegkd.data.images import IMAGE_SUFFIXES
from tfsegkd.data.paths import files_in


class ImageIndex:
    """All images below a directory.

    Args:
        root: The directory.
    """

    def __init__(self, root: Path):
        self._root = root
        self.paths = files_in(root, IMAGE_SUFFIXES, below=True)
        self._by_name = collections.defaultdict(list)
        for path in self.paths:
            self._by_name[_parts(path.name)[-1]].append(path)

    def find(self, name: str, beside: Path, split: str = "") -> Path:
        """Returns the image with a name or path in annotations.

        As much of the path is used as is needed to find a unique file. Only files below the directory are
        opened.

        Args:
            name: A file name, or a path of any operating system.
            beside: The directory of the annotations, which is preferred.
            split: The name of the split, whose directories are preferred.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if there are several.
        """
        parts = [part for part in _parts(name) if part not in ("", ".", "..")]
        found = self._by_name.get(parts[-1], []) if parts else []
        for length in range(2, len(parts) + 1):
            longer = [path for path in found if _parts(path.as_posix())[-length:] == parts[-length:]]
            found = longer or found
        if len(found) > 1:
            split_directories = [path for path in found if split and split in _parts(path.parent.as_posix())]
            found = [path for path in found if path.parent == beside] or split_directories or found
        if not found:
            raise FileNotFoundError(
                f"No image {name!r} below {str(self._root)!r}, which has {len(self.paths)} images. Expected "
                f"every image that is annotated. Copy the images there, or correct `data_dir`."
            )
        if len(found) > 1:
            several = [str(path.relative_to(self._root)) for path in found[:3]]
            raise ValueError(
                f"{len(found)} images below {str(self._root)!r} are called {name!r}: {several}. Expected "
                f"one. Give the annotations the folder as well, or the files different names."
            )
        return found[0]

    def name_of(self, path: Path) -> str:
        """Returns the name of an example: its path relative to the directory."""
        return path.relative_to(self._root).as_posix()


def _parts(path: str) -> list[str]:
    return re.split(r"[\\/]", unicodedata.normalize("NFC", path))
