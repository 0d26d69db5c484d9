"""Data sets in LabelMe's JSON format."""

import base64
import binascii
import collections
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfsegkd.data import splits
from tfsegkd.data.annotations.image_index import ImageIndex
from tfsegkd.data.annotations.options import Options, opened
from tfsegkd.data.annotations.polygons import circle
from tfsegkd.data.annotations.source import Annotated, Region
from tfsegkd.data.annotations.split_names import directories_of, in_split
from tfsegkd.data.annotations.vocabulary import vocabulary
from tfsegkd.data.paths import directory, files_in
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source

_WITHOUT_AREA = {"line", "linestrip", "point", "points"}


class _Shape(NamedTuple):
    label: str
    kind: str
    points: np.ndarray
    mask: str | None


class _File(NamedTuple):
    path: Path
    image: str
    size: tuple[int, int] | None
    shapes: tuple[_Shape, ...]


@datasets.register("labelme")
def labelme(
    split: str,
    data_dir=None,
    classes: Sequence[str] | None = None,
    unlabelled: str = "background",
    order: str = "file",
    unannotated: str = "leave_out",
    mask_orientation: str = "own",
) -> Source:
    """Images with outlines in the JSON files of LabelMe.

    A JSON file per image, anywhere below the directory, with polygons, rectangles, circles and masks. Points
    and lines are not drawn, with a note. Directories `train` and `val`, or `valid`, are
    splits; without them the images are divided by groups of neighbours.

    Args:
        split: A directory's name, or 'train', 'val' or 'all' where there are none.
        data_dir: The directory. A `labels.txt` in it may name the classes, in label order.
        classes: The labels to use, in label order; all, by name, by default.
        unlabelled: The meaning of pixels without annotation: 'background', a class, or 'void'.
        order: Which of two shapes of a pixel wins: the later, 'file', as in LabelMe, or the smaller, 'area'.
        unannotated: What to do with images without a JSON file: 'leave_out', or 'background'.
        mask_orientation: As of `folder`; LabelMe shows photographs upright.

    Raises:
        FileNotFoundError: if there is no such file, or an image is missing.
        ValueError: if a file is damaged, or the split does not exist.

    Reference:
        https://github.com/wkentaro/labelme.
    """
    options = Options(
        "labelme",
        classes,
        unlabelled,
        order=order,
        unannotated=unannotated,
        mask_orientation=mask_orientation,
    )
    root = directory(data_dir, "labelme")
    every = [_read(path, path.stat().st_mtime_ns) for path in files_in(root, {".json"}, below=True)]
    every = [file for file in every if file]
    if not every:
        raise FileNotFoundError(
            f"No JSON file of LabelMe below {str(root)!r}: none has 'shapes' and 'imagePath'. Correct "
            f"`data_dir`."
        )
    choices = directories_of((file.path for file in every), root)
    chosen = [file for file in every if not choices or in_split(file.path, root, split)]
    if not chosen or not (choices or split in splits.SPLITS):
        raise ValueError(
            f"No split {split!r} in {str(root)!r}. Expected one of {choices or list(splits.SPLITS)}."
        )
    found = collections.Counter(shape.label for file in every for shape in file.shapes)
    words = vocabulary("labelme", dict(sorted(found.items())), root, classes, unlabelled)
    index, examples = ImageIndex(root), []
    for file in chosen:
        path = index.find(file.image, file.path.parent)
        regions = _regions(file, words.labels)
        examples.append(Annotated(index.name_of(path), path, regions, size=file.size, files=(file.path,)))
    named = {example.image for example in examples}
    without = [
        path for path in index.paths if path not in named and (not choices or in_split(path, root, split))
    ]
    if unannotated == "background":
        examples += [Annotated(index.name_of(path), path, lambda size: ()) for path in without]
    source = opened(options, split, examples, words, len(without), is_split=bool(choices))
    lines = sum(shape.kind in _WITHOUT_AREA for file in every for shape in file.shapes)
    source.notes += (f"{lines} points and lines have no area, and are not drawn.",) if lines else ()
    return source


def _regions(file, labels):
    drawn = [
        (number, shape)
        for number, shape in enumerate(file.shapes)
        if shape.label in labels and shape.kind not in _WITHOUT_AREA
    ]

    def regions(size):
        return [
            _region(shape, labels[shape.label], f"Shape {number} of {str(file.path)!r}", size)
            for number, shape in drawn
        ]

    return regions


def _region(shape, label, where, size) -> Region:
    points = shape.points
    if shape.kind == "mask":
        return Region(label, where, mask=lambda: _mask(shape, where, size))
    if shape.kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points.min(0), points.max(0)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif shape.kind == "circle" and len(points) == 2:
        points = circle(*points)
    return Region(label, where, [points])


def _mask(shape, where, size) -> np.ndarray:
    """Returns a mask that is stored as a PNG of its bounding box."""
    whole = np.zeros(size, bool)
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.mask)), formats=["PNG"]) as picture:
            part = np.asarray(picture.convert("L")) > 0
        left, top = np.round(shape.points.min(0)).astype(int)
    except (OSError, ValueError, TypeError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} contains a mask that cannot be read: {error}. Draw it again.") from None
    if left < 0 or top < 0 or left + part.shape[1] > size[1] or top + part.shape[0] > size[0]:
        raise ValueError(
            f"{where} holds a mask of {part.shape[0]}×{part.shape[1]} at row {top}, column {left}, which "
            f"leaves the image of {size[0]}×{size[1]} (height × width). Draw it again."
        )
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


@functools.lru_cache(maxsize=1 << 16)
def _read(path: Path, _changed: int) -> _File | None:
    """Returns the content of a file; None if it is of another kind."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read: {error}. Expected a JSON file of LabelMe. Save it again, or "
            f"delete it."
        ) from None
    if not isinstance(content, dict) or not {"shapes", "imagePath"} <= content.keys():
        return None
    shapes = []
    for number, shape in enumerate(content["shapes"]):
        try:
            points = np.array(shape["points"], np.float64).reshape(-1, 2)
            shapes.append(
                _Shape(
                    str(shape["label"]), shape.get("shape_type") or "polygon", points, mask=shape.get("mask")
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"Shape {number} of {str(path)!r} cannot be read: {type(error).__name__} {error}. Expected a "
                f"label and points [x, y]. Draw it again."
            ) from None
    size = content.get("imageHeight"), content.get("imageWidth")
    return _File(path, str(content["imagePath"]), size if all(size) else None, shapes=tuple(shapes))
