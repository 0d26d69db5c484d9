"""PASCAL VOC in the layout of VOCdevkit."""

from pathlib import Path

from tfsegkd.data.files import FileSource
from tfsegkd.data.paths import Pair, directory, files_in, lines, pair_of, pictures
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source


def _palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Returns VOC's colors: the bits of the label, distributed to red, green and blue from the highest."""
    return tuple(
        tuple(sum((label >> 3 * bit + channel & 1) << 7 - bit for bit in range(8)) for channel in range(3))
        for label in range(count)
    )


_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
INFO = DatasetInfo("voc", _NAMES, _palette(len(_NAMES)))
_LISTS = Path("ImageSets") / "Segmentation"
_FRAMES, _MASKS, _MORE_MASKS = "JPEGImages", "SegmentationClass", "SegmentationClassAug"


@datasets.register("voc")
def voc(split: str, data_dir=None, year: int = 2012) -> Source:
    """PASCAL VOC segmentation, 20 classes and background; the border around objects is void.

    `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/<split>.txt` in `data_dir`, or below it in
    `VOC<year>` or `VOCdevkit/VOC<year>`. The split 'trainaug' reads SBD's further masks from
    `SegmentationClassAug/`, its list as names or as pairs of paths.

    Args:
        split: 'train', 'val', 'trainval', 'trainaug' or another list's name without `.txt`.
        data_dir: The directory.
        year: The year of the data set in VOCdevkit.

    Raises:
        FileNotFoundError: if the list, a folder or a file is missing.
        ValueError: if a line of the list is not a name, or the list is empty.

    Reference:
        Everingham et al., IJCV 2015; Hariharan et al., ICCV 2011, for 'trainaug'.
    """
    top = directory(data_dir, "voc")
    candidates = [top, top / f"VOC{year}", top / "VOCdevkit" / f"VOC{year}"]
    root = next((candidate for candidate in candidates if (candidate / _LISTS).is_dir()), None)
    if root is None:
        raise FileNotFoundError(
            f"No {str(_LISTS)!r} in any of {[*map(str, candidates)]}. Expected the layout of VOCdevkit; "
            f"correct `data_dir` or voc(year={year})."
        )
    spellings = (split, split.replace("_aug", "aug"), split.replace("aug", "_aug"))
    listing = next((path for name in spellings if (path := root / _LISTS / f"{name}.txt").is_file()), None)
    if listing is None:
        choices = sorted(path.stem for path in files_in(root / _LISTS, {".txt"}))
        hint = " SBD's list does not come with VOC: put it there." if "aug" in split else ""
        raise FileNotFoundError(
            f"No list for split {split!r} in {str(root / _LISTS)!r}. Expected one of {choices}.{hint}"
        )
    pairs = _pairs(root, listing, _MORE_MASKS if listing.stem.endswith("aug") else _MASKS)
    if not pairs:
        raise ValueError(f"List {str(listing)!r} is empty. Expected the name of an image on each line.")
    return FileSource(INFO, pairs)


def _pairs(root: Path, listing: Path, masks: str) -> list[Pair]:
    pairs, frames = [], pictures(root / _FRAMES)
    for number, line in lines(listing):
        if "/" in line:
            pairs.append(pair_of(root, listing, number, line))
        elif ".." in line or "\\" in line:
            raise ValueError(
                f"Line {number} of {str(listing)!r} is {line!r}. Expected the name of an image without "
                f"suffix, inside {_FRAMES}/."
            )
        else:
            # A frame that is not there is reported as all missing files are.
            pairs.append((frames.get(line, root / _FRAMES / f"{line}.jpg"), root / masks / f"{line}.png"))
    return pairs
