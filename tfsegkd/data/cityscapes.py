"""Cityscapes in the layout of its archives."""

from tfsegkd.data.files import FileSource
from tfsegkd.data.masks import MaskReading
from tfsegkd.data.paths import counterparts, directories_in, directory, files_in
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source

# Name, color and label id of each class, in the order of the train ids.
_CLASSES = (
    ("road", (128, 64, 128), 7),
    ("sidewalk", (244, 35, 232), 8),
    ("building", (70, 70, 70), 11),
    ("wall", (102, 102, 156), 12),
    ("fence", (190, 153, 153), 13),
    ("pole", (153, 153, 153), 17),
    ("traffic light", (250, 170, 30), 19),
    ("traffic sign", (220, 220, 0), 20),
    ("vegetation", (107, 142, 35), 21),
    ("terrain", (152, 251, 152), 22),
    ("sky", (70, 130, 180), 23),
    ("person", (220, 20, 60), 24),
    ("rider", (255, 0, 0), 25),
    ("car", (0, 0, 142), 26),
    ("truck", (0, 0, 70), 27),
    ("bus", (0, 60, 100), 28),
    ("train", (0, 80, 100), 31),
    ("motorcycle", (0, 0, 230), 32),
    ("bicycle", (119, 11, 32), 33),
)
INFO = DatasetInfo(
    "cityscapes", tuple(name for name, _, _ in _CLASSES), tuple(color for _, color, _ in _CLASSES)
)
_LABELS_IN_FILES = 34
# Other label ids, such as the bonnet of the recording car, are void.
RELABEL = dict.fromkeys(range(_LABELS_IN_FILES), INFO.ignore_label) | {
    label: number for number, (_, _, label) in enumerate(_CLASSES)
}
_FRAME, _MASK = "_leftimg8bit.png", "_gtfine_labelids.png"


@datasets.register("cityscapes")
def cityscapes(split: str, data_dir=None) -> Source:
    """Street scenes from fifty cities, 2048×1024, 19 classes.

    `leftImg8bit/<split>/<city>/…_leftImg8bit.png` and `gtFine/<split>/<city>/…_gtFine_labelIds.png`, as the
    archives unpack. The 34 labels of the files become the 19 train ids; the others are void.

    Args:
        split: 'train' or 'val'; 'test' has masks without labels.
        data_dir: The directory with leftImg8bit/ and gtFine/.

    Raises:
        FileNotFoundError: if a directory is missing, or an image or a mask has no counterpart.
        ValueError: if the split is empty.

    Reference:
        Cordts et al., CVPR 2016, https://arxiv.org/abs/1604.01685; the table of labels is that of
        cityscapesScripts.
    """
    root = directory(data_dir, "cityscapes")
    found = []
    for folder, ending in (("leftImg8bit", _FRAME), ("gtFine", _MASK)):
        if not (root / folder / split).is_dir():
            choices = (
                [path.name for path in directories_in(root / folder)] if (root / folder).is_dir() else []
            )
            raise FileNotFoundError(
                f"No directory {str(root / folder / split)!r}. Expected one of the splits {choices} in "
                f"{folder}/; correct `data_dir` or the split."
            )
        cities = directories_in(root / folder / split)
        files = [path for city in cities for path in files_in(city, {".png"})]
        found.append(
            {
                f"{path.parent.name}/{path.name[: -len(ending)]}": path
                for path in files
                if path.name.lower().endswith(ending)
            }
        )
    pairs = counterparts(*found, root)
    if not pairs:
        raise ValueError(
            f"Split {split!r} of {str(root)!r} is empty. Expected leftImg8bit/{split}/CITY/…_leftImg8bit.png."
        )
    return FileSource(INFO, pairs, MaskReading(RELABEL))
