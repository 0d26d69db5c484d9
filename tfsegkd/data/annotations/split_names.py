"""Splits from the names of files and directories."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfsegkd.data import splits

_SPELLINGS = {"valid": "val", "validation": "val", "training": "train", "testing": "test", "dev": "val"}
_KNOWN = {"train", "val", "test", *_SPELLINGS}


def split_names(path: Path, root: Path) -> list[str]:
    """Returns the names of splits in a path below `root`, as 'train', 'val', 'test'."""
    parts = (*path.relative_to(root).parts[:-1], path.stem)
    words = [word for part in parts for word in re.split(r"[^a-z]+", part.lower())]
    return [_SPELLINGS.get(word, word) for word in words if word in _KNOWN]


def same_split(name: str, split: str) -> bool:
    """Whether a directory's name stands for a split: valid or validation for val."""
    return name == split or _SPELLINGS.get(name.lower(), name.lower()) == _SPELLINGS.get(split, split)


def in_split(path: Path, root: Path, split: str) -> bool:
    """Whether a file is in a directory of a split: train, or else train2017 or train_images."""
    parts = path.relative_to(root).parts[:-1]
    if any(same_split(part, split) for part in parts):
        return True
    if any(part.lower() in _KNOWN for part in parts):
        return False
    return _SPELLINGS.get(split, split) in split_names(path.parent / "_", root)[-1:]


def directories_of(paths: Iterable[Path], root: Path) -> list[str]:
    """Returns the splits in the names of directories below `root`."""
    return sorted({name for path in paths for name in split_names(path.parent / "_", root)})


def matching(files: Sequence[Path], split: str, root: Path, dataset: str) -> tuple[Path, list[Path]]:
    """Returns the file of a split, and the files of all splits.

    Raises:
        ValueError: if there is none, or several match.
    """
    if len(files) == 1 and not split_names(files[0], root):
        if split not in splits.SPLITS:
            raise ValueError(_unknown(split, splits.SPLITS, root))
        return files[0], list(files)
    by_split = {path: split_names(path, root) for path in files}
    wanted = _SPELLINGS.get(split, split)
    found = [path for path, named in by_split.items() if wanted in named[-1:]]
    found = found or [path for path in files if path.stem == split]
    if not found:
        raise ValueError(_unknown(split, sorted({named[-1] for named in by_split.values() if named}), root))
    if len(found) > 1:
        several = [path.relative_to(root).as_posix() for path in found[:3]]
        raise ValueError(
            f"Split {split!r} of {str(root)!r} may be any of {several}. Expected one file a split. Say "
            f"which: {dataset}(annotations='{several[0].replace(split, '{split}')}')."
        )
    return found[0], [path for path, named in by_split.items() if named or path in found]


def _unknown(split: str, choices: Iterable[str], root: Path) -> str:
    return f"No split {split!r} in {str(root)!r}. Expected one of {list(choices)}."
