"""CamVid, merged to the eleven classes of SegNet, from either of its layouts."""

from pathlib import Path

from tfsegkd import checks
from tfsegkd.data import camvid_colors
from tfsegkd.data.files import FileSource
from tfsegkd.data.paths import directory, listed_pairs
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source

INFO = DatasetInfo(
    name="camvid",
    class_names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (0, 0, 192),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
_VOID = 11
_LAYOUTS = ("segnet", "32")


@datasets.register("camvid")
def camvid(
    split: str, data_dir=None, layout: str | int | None = None, without: str = "", only: str = ""
) -> Source:
    """Road scenes from a car in Cambridge, 11 classes.

    Two layouts are read. `segnet`, 480×360: `<split>.txt` with an image path and a mask path on each line,
    masks of the labels 0…11, where 11 is void. The paths keep the prefix of whoever made the list; what
    counts is their last two parts, such as `train/0001TP_006690.png`.

    `32`, 960×720, the original: `701_StillsRaw_full/NAME.png` and `LabeledApproved_full/NAME_L.png` in the
    colours of 32 classes, merged to the eleven. The splits are SegNet's, which follow from the frames' names.
    Copies with `<split>/NAME.png` and `<split>_labels/NAME_L.png` are read as well, with their own splits.

    Args:
        split: 'train', 'val' or 'test'; with `segnet`, a list's name without `.txt`.
        data_dir: The directory that holds the lists or the folders.
        layout: 'segnet' or '32'. Unless given, the directory decides: it is `segnet` if there is a
            `<split>.txt`, and `32` if there are the folders of that layout.
        without: Leave out the sequence whose frame names begin so, such as '0006R0', in quotes.
            Frames of one sequence look alike, so hold out a whole one when choosing between methods.
        only: Keep just that sequence.

    Raises:
        FileNotFoundError: if a list, a folder or a file is missing.
        ValueError: if a line is not two paths, no frame is left, or a sequence's name lacks its quotes.

    Reference:
        Brostow et al., Pattern Recognition Letters 2009; layout and merge to 11 classes by Badrinarayanan et
        al., 2015, https://arxiv.org/abs/1511.00561.
    """
    for name, value in (("without", without), ("only", only)):
        if not isinstance(value, str):  # bare, 0016E5 is a number of the flag language
            raise ValueError(
                f"camvid({name}=…) must be the start of a frame's name. Received: {value!r}. Put it in "
                f"quotes: camvid({name}='0016E5')."
            )
    root = directory(data_dir, "camvid")
    layout = _layout(root, split) if layout is None else str(layout)
    checks.one_of(layout, _LAYOUTS, "layout of camvid")
    pairs = _listed(root, split) if layout == "segnet" else camvid_colors.pairs(root, split)
    pairs = [
        (image, mask)
        for image, mask in pairs
        if image.name.startswith(only) and not (without and image.name.startswith(without))
    ]
    if not pairs:
        raise ValueError(
            f"No frame of split {split!r} in {str(root)!r} is left with only={only!r} and "
            f"without={without!r}."
        )
    if layout == "segnet":
        return FileSource(INFO, pairs, relabel={_VOID: INFO.ignore_label})
    return FileSource(INFO, pairs, colors=camvid_colors.labels(INFO))


def _layout(root: Path, split: str) -> str:
    if not (root / f"{split}.txt").is_file() and camvid_colors.folders(root, split) is not None:
        return "32"
    return "segnet"


def _listed(root: Path, split: str):
    listing = root / f"{split}.txt"
    if not listing.is_file():
        choices = sorted(path.stem for path in root.glob("*.txt"))
        raise FileNotFoundError(
            f"No list {str(listing)!r} for split {split!r}. Lists there: {choices}. Expected the SegNet "
            f"layout of CamVid, or the original one: {camvid_colors.FOLDERS}."
        )
    return listed_pairs(root, listing)
