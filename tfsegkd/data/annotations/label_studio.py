"""Data sets in Label Studio's format "Brush labels to PNG"."""

import collections
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from tfsegkd.data import splits
from tfsegkd.data.annotations.image_index import ImageIndex
from tfsegkd.data.annotations.options import Options, opened
from tfsegkd.data.annotations.source import Annotated, Region
from tfsegkd.data.annotations.vocabulary import vocabulary
from tfsegkd.data.images import IMAGE_SUFFIXES, size_and_orientation
from tfsegkd.data.masks import read_mask
from tfsegkd.data.paths import directory, files_in
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source

_NAME = re.compile(r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-[^-]*-(?P<label>.+)-\d+")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's prefix of uploaded files
_HALF = 128  # brushes have soft edges


class _Brush(NamedTuple):
    annotation: int
    label: str
    path: Path


@datasets.register("label_studio")
def label_studio(
    split: str,
    data_dir=None,
    classes: Sequence[str] | None = None,
    unlabelled: str = "background",
    order: str = "area",
    unannotated: str = "leave_out",
    mask_orientation: str | None = None,
) -> Source:
    """Label Studio's PNG files of labels, with the JSON export that lists the images of tasks.

    `task-1-annotation-1-by-1-tag-Car-0.png` and so on, the JSON (or JSON-MIN) export of the same project, and
    the images, all anywhere below the directory. The images are divided by groups of neighbours.

    Args:
        split: 'train', 'val' or 'all'.
        data_dir: The directory. A `labels.txt` in it may name the classes, in label order.
        classes: The labels to use, in label order; all, by name, by default.
        unlabelled: The meaning of pixels without annotation: 'background', a class, or 'void'.
        order: Which of two labels of a pixel wins: the smaller, 'area', or the later file by name, 'file'.
        unannotated: What to do with tasks without a PNG: 'leave_out', or 'background'.
        mask_orientation: As of `folder`.

    Raises:
        FileNotFoundError: if the PNGs, the JSON export or an image are missing.
        ValueError: if the JSON is damaged, or the split does not exist.
    """
    options = Options(
        "label_studio",
        classes,
        unlabelled,
        order=order,
        unannotated=unannotated,
        mask_orientation=mask_orientation,
    )
    root = directory(data_dir, "label_studio")
    if split not in splits.SPLITS:
        raise ValueError(f"No split {split!r} in {str(root)!r}. Expected one of {list(splits.SPLITS)}.")
    tasks, controls = _tasks(root)
    brushes = _brushes(root, controls)
    unknown = sorted(set(brushes) - set(tasks))
    if unknown:
        raise ValueError(
            f"{len(unknown)} tasks of the PNGs in {str(root)!r} are not in the JSON export, the first: "
            f"{unknown[:3]}. Export both of the same project."
        )
    found = collections.Counter(brush.label for several in brushes.values() for brush in several)
    words = vocabulary("label_studio", dict(sorted(found.items())), root, classes, unlabelled)
    index, examples, again = ImageIndex(root), [], 0
    for task, name in tasks.items():
        several = brushes.get(task, [])
        if not several and unannotated == "leave_out":
            continue
        last = max((brush.annotation for brush in several), default=None)
        again += len({brush.annotation for brush in several}) > 1
        drawn = [brush for brush in several if brush.annotation == last and brush.label in words.labels]
        path = _image(index, name, root)
        size = size_and_orientation(several[0].path)[0] if several else None
        regions, files = _regions(drawn, words.labels), tuple(brush.path for brush in drawn)
        examples.append(Annotated(index.name_of(path), path, regions, size=size, files=files))
    source = opened(options, split, examples, words, len(set(tasks) - set(brushes)), is_split=False)
    if again:
        source.notes += (f"{again} tasks were annotated more than once: the latest annotation counts.",)
    return source


def _regions(brushes, labels):
    return lambda size: [
        Region(labels[brush.label], repr(str(brush.path)), mask=lambda path=brush.path: _painted(path))
        for brush in brushes
    ]


def _painted(path: Path) -> np.ndarray:
    return read_mask(path) >= _HALF


def _brushes(root: Path, controls: Sequence[str]) -> dict[int, list[_Brush]]:
    brushes: dict[int, list[_Brush]] = {}
    for path in files_in(root, {".png"}, below=True):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            continue
        label = match["label"]
        # The label follows the name of the control, such as 'tag'; both may have hyphens.
        known = [name for name in controls if label.startswith(f"{name}-")]
        label = label[len(max(known, key=len)) + 1 :] if known else label.partition("-")[2] or label
        brushes.setdefault(int(match["task"]), []).append(_Brush(int(match["annotation"]), label, path))
    if not brushes:
        raise FileNotFoundError(
            f"No PNG of a label below {str(root)!r}. Expected files such as "
            f"task-1-annotation-1-by-1-tag-Car-0.png: export the project as 'Brush labels to PNG'."
        )
    return brushes


def _tasks(root: Path) -> tuple[dict[int, str], list[str]]:
    """Returns the image of each task, and the names of labelling controls."""
    tasks: dict[int, str] = {}
    controls: set[str] = set()
    for path in files_in(root, {".json"}, below=True):
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{str(path)!r} cannot be read: {error}. Expected the JSON export of Label Studio. Export it "
                f"again."
            ) from None
        for task in content if isinstance(content, list) else ():
            if not isinstance(task, dict) or not isinstance(task.get("id"), int):
                continue
            fields = task["data"] if isinstance(task.get("data"), dict) else task
            image = next((value for value in fields.values() if _is_image(value)), None)
            if image is not None:
                tasks[task["id"]] = image
            controls |= {
                key for key, value in task.items() if isinstance(value, list) and key != "annotations"
            }
            for annotation in task.get("annotations") or ():
                controls |= {str(result.get("from_name")) for result in annotation.get("result") or ()}
    if not tasks:
        raise FileNotFoundError(
            f"No JSON export of Label Studio below {str(root)!r}, which lists the images of tasks. Export "
            f"the project as JSON as well, and put the file beside the PNGs."
        )
    return tasks, sorted(controls)


def _is_image(value) -> bool:
    return (
        isinstance(value, str)
        and Path(unquote(value.partition("?d=")[2] or value)).suffix.lower() in IMAGE_SUFFIXES
    )


def _image(index: ImageIndex, name: str, root: Path) -> Path:
    path = unquote(name.partition("?d=")[2] or name)
    try:
        return index.find(path, root)
    except FileNotFoundError:
        uploaded = re.split(r"[\\/]", path)[-1]
        if not _UPLOADED.match(uploaded):
            raise
        return index.find(_UPLOADED.sub("", uploaded), root)
