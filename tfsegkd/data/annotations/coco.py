"""Data sets in COCO JSON."""

import collections
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfsegkd.data.annotations.image_index import ImageIndex
from tfsegkd.data.annotations.json_stream import elements
from tfsegkd.data.annotations.options import Options, opened
from tfsegkd.data.annotations.polygons import from_runs
from tfsegkd.data.annotations.source import Annotated, Region
from tfsegkd.data.annotations.split_names import matching
from tfsegkd.data.annotations.vocabulary import vocabulary
from tfsegkd.data.paths import directory, files_in
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source

_KEYS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_HEAD = 1 << 16  # of a file, in which one of its lists must start


@dataclass(frozen=True)
class CocoFile:
    """The content of a file that masks need.

    Args:
        path: The file.
        images: File name, height and width of each image, by id.
        categories: Name of each category, by id, in the order of the ids.
        groups: Names of categories that only group others.
        annotations: Id, category and outline of each annotation, by image id.
        has_strings: Whether there are compressed RLE masks.
    """

    path: Path
    images: Mapping[Any, tuple[str, int | None, int | None]]
    categories: Mapping[Any, str]
    groups: frozenset[str]
    annotations: Mapping[Any, list[tuple[Any, Any, Any]]]
    has_strings: bool


@datasets.register("coco")
def coco(
    split: str,
    data_dir=None,
    annotations: str | None = None,
    classes: Sequence[str] | None = None,
    unlabelled: str = "background",
    order: str = "area",
    unannotated: str = "background",
    mask_orientation: str | None = None,
) -> Source:
    """Images with outlines in COCO JSON: polygons and RLE masks, compressed or not.

    A file for each split, such as `annotations/instances_train2017.json` or `train/_annotations.coco.json`,
    or one file, whose images are then divided by groups of neighbours. Images are anywhere below the
    directory. Compressed RLE masks need pycocotools: `pip install 'tfsegkd[annotations]'`.

    Args:
        split: 'train', 'val', … as in the files' names; or 'train', 'val' or 'all' of one file.
        data_dir: The directory. A `labels.txt` in it may name the classes, in label order.
        annotations: The file, relative to the directory; `{split}` stands for the split.
        classes: The names of the categories to use, in label order; all, by id, by default.
        unlabelled: The meaning of pixels without annotation: 'background', a class, or 'void'.
        order: Which of two annotations of a pixel wins: the smaller, 'area', or the later, 'file'.
        unannotated: What to do with images without annotations: 'background', or 'leave_out'.
        mask_orientation: As of `folder`.

    Raises:
        FileNotFoundError: if a file or an image is missing.
        ValueError: if a file is damaged or inconsistent, or the split does not exist.
        ImportError: for compressed RLE masks without pycocotools.

    Reference:
        Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312; https://cocodataset.org/#format-data.
    """
    options = Options(
        "coco", classes, unlabelled, order=order, unannotated=unannotated, mask_orientation=mask_orientation
    )
    root = directory(data_dir, "coco")
    chosen, every = _files(root, split, annotations)
    read = [_read(path, path.stat().st_mtime_ns, path.stat().st_size) for path in every]
    found = collections.Counter()
    for file in read:
        found.update(dict.fromkeys(file.categories.values(), 0))
        for each in file.annotations.values():
            found.update(file.categories[category] for _, category, _ in each)
    groups = frozenset().union(*(file.groups for file in read))
    found = {name: count for name, count in found.items() if count or name not in groups}
    words = vocabulary("coco", found, root, options.classes, options.unlabelled)
    index = ImageIndex(root)
    examples = {
        file.path: [
            _example(file, number, image, words.labels, index, split if len(read) > 1 else "")
            for number, image in file.images.items()
            if options.unannotated == "background" or file.annotations.get(number)
        ]
        for file in read
        if file.path == chosen or len(read) == 1
    }
    counts = {file.path: sum(not file.annotations.get(number) for number in file.images) for file in read}
    return opened(options, split, examples[chosen], words, counts[chosen], is_split=len(read) > 1)


def _example(file, number, image, labels, index, split) -> Annotated:
    name, height, width = image
    path = index.find(name, file.path.parent, split)
    size = (height, width) if height and width else None
    annotations = file.annotations.get(number, ())

    def regions(size):
        return [
            _region(outline, labels[file.categories[category]], f"Annotation {one} of {str(file.path)!r}")
            for one, category, outline in annotations
            if file.categories[category] in labels
        ]

    return Annotated(index.name_of(path), path, regions, size=size, files=(file.path,))


def _region(outline, label, where) -> Region:
    if isinstance(outline, list):
        return Region(label, where, outline)
    return Region(label, where, mask=lambda: _runs(outline, where))


def _runs(outline, where) -> np.ndarray:
    counts, size = outline["counts"], tuple(outline["size"])
    try:
        if isinstance(counts, str):
            return _mask_api().decode({"size": size, "counts": counts.encode()}).astype(bool)
        return from_runs(counts, size)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: {error}. Export the annotations again.") from None


def _mask_api():
    try:
        from pycocotools import mask
    except ImportError:
        raise ImportError(
            "Compressed RLE masks of COCO JSON need pycocotools. Install it: pip install "
            "'tfsegkd[annotations]'."
        ) from None
    return mask


def _files(root: Path, split: str, annotations: str | None) -> tuple[Path, list[Path]]:
    """Returns the file of a split, and those of all splits."""
    if annotations is not None:
        named = root / annotations.replace("{split}", split)
        if not named.is_file() or root.resolve() not in named.resolve().parents:
            raise FileNotFoundError(
                f"No file {str(named)!r} of coco(annotations={annotations!r}). Expected a COCO JSON in "
                f"`data_dir`."
            )
        pattern = re.escape(annotations).replace(re.escape("{split}"), "[^/]+")
        every = [
            path
            for path in files_in(root, {".json"}, below=True)
            if re.fullmatch(pattern, path.relative_to(root).as_posix()) and _is_coco(path)
        ]
        return named, every if "{split}" in annotations else [named]
    files = [path for path in files_in(root, {".json"}, below=True) if _is_coco(path)]
    # COCO's files of keypoints and captions have no masks.
    files = [path for path in files if "instances" in path.stem] or files
    if not files:
        raise FileNotFoundError(
            f"No COCO JSON below {str(root)!r}: no .json file with lists 'images', 'annotations' and "
            f"'categories'. Correct `data_dir`, or name the file: coco(annotations='FILE')."
        )
    return matching(files, split, root, "coco")


def _is_coco(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD)
    return bool(_KEYS.search(head))


@functools.lru_cache(maxsize=4)  # the files are needed for each split
def _read(path: Path, _changed: int, _size: int) -> CocoFile:
    images, categories, parents, outlines = {}, {}, set(), collections.defaultdict(list)
    has_strings, has_outline = False, False

    def entry(kind, value, *keys):
        if not isinstance(value, dict) or any(key not in value for key in keys):
            raise ValueError(
                f"{str(path)!r}: one of its {kind} is {str(value)[:80]}. Expected an entry with "
                f"{list(keys)}. Export it again."
            )
        return [value[key] for key in keys]

    def once(kind, table, key, value):
        if key in table:
            raise ValueError(f"{str(path)!r}: two {kind} have the id {key!r}. Expected one. Export it again.")
        table[key] = value

    for key, value in elements(path):
        if key == "images":
            number, name = entry("images", value, "id", "file_name")
            once("images", images, number, (str(name), value.get("height"), value.get("width")))
        elif key == "categories":
            number, name = entry("categories", value, "id", "name")
            once("categories", categories, number, str(name))
            parents.add(str(value.get("supercategory")))
        elif key == "annotations":
            number, category = entry("annotations", value, "image_id", "category_id")
            outline, is_string = _compact(value.get("segmentation"))
            has_strings, has_outline = has_strings or is_string, has_outline or bool(outline)
            outlines[number].append((value.get("id"), category, outline))
    _check(path, images, categories, outlines, has_outline)
    if has_strings:
        _mask_api()
    ordered = dict(sorted(categories.items(), key=lambda item: (str(type(item[0])), item[0])))
    return CocoFile(
        path, images, ordered, groups=frozenset(parents), annotations=outlines, has_strings=has_strings
    )


def _compact(segmentation):
    """Returns an outline in compact form, and whether it is a compressed RLE mask."""
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            counts = np.array(counts)
        return {"counts": counts, "size": segmentation.get("size", (0, 0))}, isinstance(counts, str)
    polygons = segmentation or []
    if polygons and not isinstance(polygons[0], list):
        polygons = [polygons]  # some tools omit the outer list
    # An odd number of coordinates is invalid: it is reported as an outline without points when its image is
    # read.
    return [
        np.array(points, np.float32).reshape(-1, 2) if len(points) % 2 == 0 else np.zeros((0, 2), np.float32)
        for points in polygons
    ], False


def _check(path, images, categories, outlines, has_outline):
    every = [(number, category) for number, each in outlines.items() for _, category, _ in each]
    for kind, known, used in (
        ("image_id", images, [number for number, _ in every]),
        ("category_id", categories, [category for _, category in every]),
    ):
        unknown = [each for each in used if each not in known]
        if unknown:
            raise ValueError(
                f"{str(path)!r}: {len(unknown)} annotations have an unknown {kind}, the first "
                f"{unknown[0]!r}. Expected one of its {len(known)} entries. Export it again."
            )
    if not images or not categories:
        what = "images" if not images else "categories"
        raise ValueError(f"{str(path)!r} has no {what}. Expected COCO JSON of images with outlines.")
    if not has_outline:
        raise ValueError(
            f"{str(path)!r} has {len(every)} annotations, and none has an outline ('segmentation'). Expected "
            f"polygons or runs; boxes are no masks. Export it as instance segmentation."
        )
