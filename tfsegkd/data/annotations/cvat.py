"""Data sets in CVAT's format "Segmentation mask 1.1"."""

from collections.abc import Sequence
from pathlib import Path

from tfsegkd.data import splits
from tfsegkd.data.annotations.split_names import same_split
from tfsegkd.data.annotations.vocabulary import vocabulary, without_background
from tfsegkd.data.files import FileSource
from tfsegkd.data.images import IMAGE_SUFFIXES
from tfsegkd.data.masks import Color, MaskReading
from tfsegkd.data.paths import Pair, directory, files_in, lines
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source

_MASKS, _OTHERS = "SegmentationClass", "SegmentationObject"
_LISTS = Path("ImageSets") / "Segmentation"


@datasets.register("cvat")
def cvat(
    split: str, data_dir=None, classes: Sequence[str] | None = None, unlabelled: str = "background"
) -> Source:
    """Masks of CVAT, `SegmentationClass/NAME.png` in the colors of `labelmap.txt`, and their images.

    Images are anywhere else below the directory, such as in `JPEGImages/`; export them, too ("Save images").
    `ImageSets/Segmentation/<split>.txt` lists a split; with one list, or none, the images are divided by
    groups of neighbours.

    Args:
        split: A list's name, or 'train', 'val' or 'all'.
        data_dir: The directory. A `labels.txt` in it may select classes and their order.
        classes: The labels to use, in label order; all of the labelmap by default.
        unlabelled: The meaning of the label 'background': a class, or 'void'.

    Raises:
        FileNotFoundError: if there is no labelmap.txt, or an image is missing.
        ValueError: if the labelmap is damaged, or the split does not exist.

    Reference:
        https://docs.cvat.ai/docs/dataset_management/formats/format-smask/.
    """
    root = directory(data_dir, "cvat")
    by_name = _labelmap(root / "labelmap.txt")
    words = vocabulary("cvat", without_background(by_name, unlabelled), root, classes, unlabelled)
    colors = {color: words.labels.get(name, words.rest) for name, color in by_name.items()}
    palette = tuple(by_name.get(name, (0, 0, 0)) for name in words.info.class_names)
    info = DatasetInfo("cvat", words.info.class_names, palette)
    pairs, notes = _of_split(root, split, _pairs(root))
    names = [image.relative_to(root).as_posix() for image, _ in pairs]
    return FileSource(info, pairs, MaskReading(colors=colors), names=names, notes=(*words.notes, *notes))


def _labelmap(path: Path) -> dict[str, Color]:
    """Returns the color of each label."""
    if not path.is_file():
        raise FileNotFoundError(
            f"No {str(path)!r}. Expected the labelmap of CVAT's format 'Segmentation mask 1.1'. Correct "
            f"`data_dir`."
        )
    colors: dict[str, Color] = {}
    for number, line in lines(path):
        if line.startswith("#"):
            continue
        name, *fields = line.split(":")
        parts = fields[0].split(",") if fields else []
        if len(parts) != 3 or not all(part.strip().isdigit() and int(part) < 256 for part in parts):
            raise ValueError(
                f"Line {number} of {str(path)!r} is {line!r}. Expected 'label:red,green,blue:parts:actions'."
            )
        color = tuple(map(int, parts))
        if name in colors or color in colors.values():
            raise ValueError(
                f"Line {number} of {str(path)!r} is {line!r}, whose label or color is repeated. "
                f"Expected a color for each label. Change it in CVAT and export again."
            )
        colors[name] = color
    return colors


def _pairs(root: Path) -> dict[str, Pair]:
    """Returns the image and the mask of each name."""
    masks = files_in(root / _MASKS, {".png"}, below=True) if (root / _MASKS).is_dir() else []
    if not masks:
        raise FileNotFoundError(f"No mask in {str(root / _MASKS)!r}. Expected NAME.png for each image.")
    images: dict[str, list[Path]] = {}
    for path in files_in(root, IMAGE_SUFFIXES, below=True):
        if path.relative_to(root).parts[0] not in (_MASKS, _OTHERS):
            images.setdefault(path.stem, []).append(path)
    pairs, missing = {}, []
    for mask in masks:
        name = mask.relative_to(root / _MASKS).with_suffix("").as_posix()
        found = images.get(mask.stem, [])
        if len(found) > 1:
            found = [path for path in found if path.with_suffix("").as_posix().endswith(f"/{name}")]
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} images in {str(root)!r} are called {name!r}. Expected one per mask."
            )
        if found:
            pairs[name] = (found[0], mask)
        else:
            missing.append(name)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(masks)} masks in {str(root)!r} have no image, the first: {missing[:3]}. "
            f"Export with 'Save images', or copy the images into {str(root / 'JPEGImages')!r}."
        )
    return pairs


def _of_split(root: Path, split: str, pairs: dict[str, Pair]) -> tuple[list[Pair], tuple[str, ...]]:
    lists = files_in(root / _LISTS, {".txt"}) if (root / _LISTS).is_dir() else []
    listing = next((path for path in lists if same_split(path.stem, split)), None)
    if listing is None and len(lists) > 1:
        raise ValueError(
            f"No split {split!r} in {str(root)!r}. Expected one of {[path.stem for path in lists]}."
        )
    if listing is None and split not in splits.SPLITS:
        raise ValueError(f"No split {split!r} in {str(root)!r}. Expected one of {list(splits.SPLITS)}.")
    names = [line for path in ([listing] if listing else lists) for _, line in lines(path)] or sorted(pairs)
    absent = [name for name in names if name not in pairs]
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} names of {str(listing or lists[0])!r} have no mask in {_MASKS}/, the first: "
            f"{absent[:3]}."
        )
    if listing is not None:
        return [pairs[name] for name in names], ()
    names, note = splits.made(sorted(names, key=splits.in_order), split)
    if not names:
        raise ValueError(f"Split {split!r} of {str(root)!r} is empty. Use `split='all'`.")
    return [pairs[name] for name in names], (note,)
