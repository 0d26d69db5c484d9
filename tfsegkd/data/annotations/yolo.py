"""Data sets in YOLO's segmentation format."""

import collections
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfsegkd import checks
from tfsegkd.data import splits
from tfsegkd.data.annotations.image_index import ImageIndex
from tfsegkd.data.annotations.options import Options, opened
from tfsegkd.data.annotations.source import Annotated, Region
from tfsegkd.data.annotations.split_names import directories_of, in_split
from tfsegkd.data.annotations.vocabulary import vocabulary
from tfsegkd.data.labels import read_labels
from tfsegkd.data.paths import directory, files_in, lines
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source

_MOST_OUTSIDE = 1.5  # of the image: larger values are pixels, not shares


class _Outline(NamedTuple):
    label: int
    points: np.ndarray
    where: str


@datasets.register("yolo")
def yolo(
    split: str,
    data_dir=None,
    classes: Sequence[str] | None = None,
    unlabelled: str = "background",
    order: str = "area",
    unannotated: str = "background",
) -> Source:
    """Images with outlines in YOLO's text files: a class and x y x y … from 0 to 1 on each line.

    A text file per image: in `labels/` for one in `images/`, or beside it. A `data.yaml` has the names of the
    classes, or a `classes.txt`, one per line. Directories `train` and `val`, or `valid`, are splits; without
    them the images are divided by groups of neighbours. Reading YAML needs `pip install
    'tfsegkd[annotations]'`.

    Args:
        split: A directory's name, or 'train', 'val' or 'all' where there are none.
        data_dir: The directory. A `labels.txt` in it may select classes and their order.
        classes: The names to use, in label order; all, by number, by default.
        unlabelled: The meaning of pixels without annotation: 'background', a class, or 'void'.
        order: Which of two outlines of a pixel wins: the smaller, 'area', or the later, 'file'.
        unannotated: What to do with images without outlines: 'background', as Ultralytics does, or
            'leave_out'.

    Raises:
        FileNotFoundError: if there is no list of classes, or no text file.
        ValueError: if a file is damaged or has an unknown class, or the split does not exist.

    Reference:
        https://docs.ultralytics.com/datasets/segment/.
    """
    options = Options(
        "yolo", classes, unlabelled, order=order, unannotated=unannotated, mask_orientation=None
    )
    root = directory(data_dir, "yolo")
    names, index = _names(root), ImageIndex(root)
    files = {image: _file_of(image, root) for image in index.paths}
    outlines = {
        image: _read(path, path.stat().st_mtime_ns, tuple(names)) if path else ()
        for image, path in files.items()
    }
    if not any(outlines.values()):
        raise FileNotFoundError(
            f"No outline in {sum(map(bool, files.values()))} text files of {len(files)} images below "
            f"{str(root)!r}. Expected labels/NAME.txt for each images/NAME, with 'CLASS x y x y …' on a line."
        )
    found = collections.Counter(dict.fromkeys(names.values(), 0))
    found.update(names[each.label] for several in outlines.values() for each in several)
    words = vocabulary("yolo", found, root, classes, unlabelled)
    choices = directories_of(index.paths, root)
    chosen = [image for image in index.paths if not choices or in_split(image, root, split)]
    if not chosen or not (choices or split in splits.SPLITS):
        raise ValueError(
            f"No split {split!r} in {str(root)!r}. Expected one of {choices or list(splits.SPLITS)}."
        )
    without = sum(not outlines[image] for image in chosen)
    examples = [
        Annotated(
            index.name_of(image),
            image,
            _regions(outlines[image], names, words.labels),
            files=tuple(filter(None, [files[image]])),
        )
        for image in chosen
        if outlines[image] or unannotated == "background"
    ]
    return opened(options, split, examples, words, without, is_split=bool(choices))


def _regions(outlines, names, labels):
    def regions(size):
        return [
            Region(
                labels[names[each.label]],
                each.where,
                [each.points * size[::-1]] if len(each.points) > 2 else (),
            )
            for each in outlines
            if names[each.label] in labels
        ]

    return regions


def _names(root: Path) -> dict[int, str]:
    """Returns the names of the classes, by number."""
    for path in files_in(root, {".yaml", ".yml"}):
        content = _yaml(path)
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list | tuple):
            names = dict(enumerate(names))
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in sorted(names.items())}
        if names is not None:
            raise ValueError(
                f"{str(path)!r} has the names {str(names)[:80]}. Expected a list of names, or numbers and "
                f"names."
            )
    for name in ("classes.txt", "labels.txt"):
        if (root / name).is_file():
            if name == "labels.txt":
                return dict(enumerate(read_labels(root / name)))
            return dict(enumerate(line for _, line in lines(root / name)))
    raise FileNotFoundError(
        f"No names of classes in {str(root)!r}. Expected a data.yaml with 'names', or a classes.txt with a "
        f"class a line."
    )


def _yaml(path: Path):
    try:
        import yaml
    except ImportError:
        raise ImportError(
            f"Reading {str(path)!r} needs PyYAML. Install it: pip install 'tfsegkd[annotations]'."
        ) from None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read: {checks.quoted(error)}. Expected YAML in UTF-8."
        ) from None


def _file_of(image: Path, root: Path) -> Path | None:
    parts = list(image.relative_to(root).parts)
    candidates = [image.with_suffix(".txt")]
    for number in range(len(parts) - 1):
        if parts[number] == "images":
            other = root.joinpath(*parts[:number], "labels", *parts[number + 1 :])
            candidates.insert(0, other.with_suffix(".txt"))
    return next((path for path in candidates if path.is_file()), None)


@functools.lru_cache(maxsize=1 << 16)
def _read(path: Path, _changed: int, names: tuple[int, ...]) -> tuple[_Outline, ...]:
    outlines = []
    for number, line in lines(path):
        where = f"Line {number} of {str(path)!r}"
        try:
            label, *numbers = map(float, line.split())
        except ValueError:
            raise ValueError(f"{where} is {line[:80]!r}. Expected 'CLASS x y x y …', all numbers.") from None
        if label not in names:
            raise ValueError(
                f"{where} is of class {label:g}. Expected one of the {len(names)} classes that have a name."
            )
        if len(numbers) % 2:
            raise ValueError(f"{where} has {len(numbers)} coordinates. Expected pairs of x and y.")
        points = np.array(numbers).reshape(-1, 2)
        if np.abs(points).max(initial=0) > _MOST_OUTSIDE:
            raise ValueError(
                f"{where} has the coordinate {np.abs(points).max():g}. Expected shares of the image's width "
                f"and height, 0 to 1; divide pixels by them."
            )
        # Four numbers are a bounding box.
        outlines.append(_Outline(int(label), points, where))
    return tuple(outlines)
