"""Directories and lists of files of data sets."""

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tfsegkd import checks
from tfsegkd.data.images import IMAGE_SUFFIXES

Pair = tuple[Path, Path]
# Thumbnails, trash and metadata directories of other systems.
_OF_SYSTEMS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
_LONGEST_LINE = 2 * 4096  # two paths of maximum length


def directory(data_dir: str | os.PathLike | None, dataset: str) -> Path:
    """Returns `data_dir` as an existing path.

    Raises:
        ValueError: if it is None.
        FileNotFoundError: if it is not a directory.
    """
    if data_dir is None:
        raise ValueError(f"Data set {dataset!r} lies in files. Say where with `data_dir=DIRECTORY`.")
    path = Path(data_dir).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(
            f"`data_dir={str(path)!r}` is not a directory. Expected the root of {dataset!r}."
        )
    return path


def is_hidden(path: Path) -> bool:
    """Whether a name is that of a hidden or system file, such as ._a.png."""
    return path.name.startswith(".") or path.name in _OF_SYSTEMS


def files_in(folder: Path, suffixes: Collection[str], below: bool = False) -> list[Path]:
    """Returns the files of a directory with one of `suffixes`, in lower case, in the order of their paths.

    Hidden files, system directories and directories with such a name are skipped.

    Args:
        folder: The directory.
        suffixes: Such as `IMAGE_SUFFIXES`.
        below: Whether to include sub-directories, also symbolic links to directories that are not included
            otherwise.
    """
    found, directories, links, seen = [], [folder], [], set()
    while directories or links:
        directory = directories.pop() if directories else links.pop()
        if (target := directory.resolve()) in seen:
            continue
        seen.add(target)
        for path in directory.iterdir():
            if is_hidden(path):
                continue
            if path.suffix.lower() in suffixes and path.is_file():
                found.append(path)
            elif below and path.is_dir():
                (links if path.is_symlink() else directories).append(path)
    return sorted(found)


def directories_in(folder: Path) -> list[Path]:
    """Returns the directories in a directory that are not hidden, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))


def pictures(folder: Path) -> dict[str, Path]:
    """Returns the image files of a directory, by name without suffix, in the order of their names.

    Raises:
        FileNotFoundError: if there is no such directory.
        ValueError: if two files differ only in their suffix.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"No directory {str(folder)!r}. Expected images there; correct `data_dir`.")
    found = files_in(folder, IMAGE_SUFFIXES)
    # Operating systems write é as one or two characters.
    by_stem = {unicodedata.normalize("NFC", path.stem): path for path in found}
    if len(by_stem) < len(found):
        twice = [path.name for path in found if path not in by_stem.values()]
        raise ValueError(f"{str(folder)!r} has several files with the names {twice[:3]}. Keep one of each.")
    return by_stem


def counterparts(images: Mapping[str, Path], masks: Mapping[str, Path], root: Path) -> list[Pair]:
    """Pairs images and masks by key.

    Raises:
        FileNotFoundError: if one has no counterpart; the message names the first few.
    """
    sides = {"images": images, "masks": masks}
    for kind, other in (("images", "masks"), ("masks", "images")):
        alone = sorted(sides[kind].keys() - sides[other].keys())
        if alone:
            raise FileNotFoundError(
                f"{len(alone)} of the {len(sides[kind])} {kind} in {str(root)!r} have no counterpart among "
                f"the {other}, the first: {alone[:3]}. Expected files of equal names; add them or move these "
                f"away."
            )
    return [(images[key], masks[key]) for key in images]


def lines(listing: Path) -> Iterator[tuple[int, str]]:
    """Yields the number and content of each line of a list that is not blank.

    Raises:
        ValueError: if it is not UTF-8 text.
    """
    text = checks.text_of(listing, "a name on each line")
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def listed_pairs(root: Path, listing: Path) -> list[Pair]:
    """Returns the pairs of a list whose lines are an image path and a mask path.

    Only the last two parts of a path are used, such as `train/0001TP_006690.png`.

    Raises:
        ValueError: if a line is not two paths, or a path leaves `root`.
    """
    return [pair_of(root, listing, number, line) for number, line in lines(listing)]


def pair_of(root: Path, listing: Path, number: int, line: str) -> Pair:
    """Returns the two paths on a line of a list; see `listed_pairs`."""
    if len(line) > _LONGEST_LINE:
        raise ValueError(
            f"Line {number} of {str(listing)!r} has {len(line)} characters: {line[:40]!r}… Expected an image "
            f"path and a mask path."
        )
    gaps = [match.span() for match in re.finditer(r"\s+", line)]
    pairs = [(_inside(root, line[:begin]), _inside(root, line[end:])) for begin, end in gaps]
    if len(pairs) > 1:
        # File names may have spaces: the line is split where both parts are files.
        pairs = [pair for pair in pairs if all(path.is_file() for path in pair)]
    if len(pairs) != 1:
        raise ValueError(
            f"Line {number} of {str(listing)!r} is {line!r}. Expected an image path and a mask path."
        )
    return pairs[0]


def _inside(root: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts[-2:]
    if ".." in parts or parts[:1] == ("/",):
        raise ValueError(f"Path {path!r} in a list of {str(root)!r} leaves the directory. Correct the list.")
    return root.joinpath(*parts)
