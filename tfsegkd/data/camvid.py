"""CamVid, merged to the eleven classes of SegNet, from either of its layouts."""

from collections.abc import Sequence
from pathlib import Path

from tfsegkd import checks
from tfsegkd.data import camvid_colors
from tfsegkd.data.files import FileSource
from tfsegkd.data.masks import MaskReading
from tfsegkd.data.paths import directory, files_in, listed_pairs
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import DatasetInfo, Source
from tfsegkd.data.source import spread as even_places

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
    split: str,
    data_dir=None,
    layout: str | int | None = None,
    without: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
    part: tuple[float, float] = (0, 1),
    spread: int | None = None,
    without_spread: int | None = None,
) -> Source:
    """Road scenes from a car in Cambridge, 11 classes.

    Two layouts are read. `segnet`, 480×360: `<split>.txt` with an image path and a mask path on each line,
    masks of the labels 0…11, where 11 is void. Only the last two parts of a path are used, such
    as `train/0001TP_006690.png`.

    `32`, 960×720, the original: `701_StillsRaw_full/NAME.png` and `LabeledApproved_full/NAME_L.png` in the
    colors of 32 classes, merged to the eleven. The splits are SegNet's, derived from the frames' names.
    Copies with `<split>/NAME.png` and `<split>_labels/NAME_L.png` are read, too, with their own splits.

    Args:
        split: 'train', 'val' or 'test'; with `segnet`, a list's name without `.txt`.
        data_dir: The directory of the lists or folders.
        layout: 'segnet' or '32'. By default `segnet` if there is a `<split>.txt`, and `32` if there are the
            folders of that layout.
        without: The prefix of a sequence to leave out, such as '0006R0', in quotes; a list or a tuple leaves
            out several. Frames of a sequence are similar, so hold out whole ones to choose between methods.
        only: The prefix of the sequence, or sequences, to keep.
        part: Two fractions of the remaining frames, in the order of their names: (0, 0.5) is the first half,
            (0.5, 1) the second.
        spread: Keeps so many of the frames that are left, at equal distances: a few labels from everywhere.
        without_spread: Leaves out the frames that `spread` with this number keeps.

    Raises:
        FileNotFoundError: if a list, a folder or a file is missing.
        ValueError: if a line is not two paths, no frame is left, a sequence's name lacks its quotes, a
            sequence does not exist, or `part` is not two increasing fractions.

    Reference:
        Brostow et al., Pattern Recognition Letters 2009; layout and merge to 11 classes by Badrinarayanan et
        al., 2015, https://arxiv.org/abs/1511.00561.
    """
    without, only = _sequences("without", without), _sequences("only", only)
    begin, end = _fractions(part)
    root = directory(data_dir, "camvid")
    layout = _layout(root, split) if layout is None else str(layout)
    checks.one_of(layout, _LAYOUTS, "layout of camvid")
    pairs = _listed(root, split) if layout == "segnet" else camvid_colors.pairs(root, split)
    # A sequence to leave out may be in another split.
    for sequence in only:
        if not any(image.name.startswith(sequence) for image, _ in pairs):
            found = sorted({image.name.split("_")[0] for image, _ in pairs})
            raise ValueError(
                f"No frame of split {split!r} in {str(root)!r} has a name that begins with {sequence!r}. "
                f"Sequences there: {found}."
            )
    pairs = [
        (image, mask)
        for image, mask in pairs
        if (not only or image.name.startswith(only)) and not image.name.startswith(without)
    ]
    if (begin, end) != (0, 1) or spread is not None or without_spread is not None:
        pairs.sort(key=lambda pair: pair[0].name)
        pairs = pairs[round(begin * len(pairs)) : round(end * len(pairs))]
    for name, count in (("spread", spread), ("without_spread", without_spread)):
        if count is not None and pairs:
            checks.whole(count, 1, f"{name} of camvid", len(pairs))
            chosen = even_places(len(pairs), count)
            pairs = [pair for place, pair in enumerate(pairs) if (place in chosen) == (name == "spread")]
    if not pairs:
        raise ValueError(
            f"No frame of split {split!r} in {str(root)!r} is left with only={only!r}, "
            f"without={without!r}, part={part!r}, spread={spread} and without_spread={without_spread}."
        )
    if layout == "segnet":
        return FileSource(INFO, pairs, MaskReading({_VOID: INFO.ignore_label}))
    return FileSource(INFO, pairs, MaskReading(colors=camvid_colors.labels(INFO)))


def _sequences(name: str, value) -> tuple[str, ...]:
    if value == "":
        return ()
    values = (value,) if isinstance(value, str) else value
    # Without quotes, 0016E5 is a number.
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) and each for each in values):
        raise ValueError(
            f"camvid({name}=…) must be prefixes of frames' names. Received: {value!r}. Put each "
            f"in quotes: camvid({name}='0016E5') or camvid({name}=('0001TP', '0016E5_07'))."
        )
    return tuple(values)


def _fractions(part) -> tuple[float, float]:
    pair = isinstance(part, list | tuple) and len(part) == 2
    if not pair or not all(isinstance(each, int | float) for each in part) or not 0 <= part[0] < part[1] <= 1:
        raise ValueError(
            f"camvid(part=…) must be two fractions of the frames, the first below the second, from 0 to 1. "
            f"Received: {part!r}. The first half is part=(0, 0.5)."
        )
    return tuple(part)


def _layout(root: Path, split: str) -> str:
    if not (root / f"{split}.txt").is_file() and camvid_colors.folders(root, split) is not None:
        return "32"
    return "segnet"


def _listed(root: Path, split: str):
    listing = root / f"{split}.txt"
    if not listing.is_file():
        choices = sorted(path.stem for path in files_in(root, {".txt"}))
        raise FileNotFoundError(
            f"No list {str(listing)!r} for split {split!r}. Lists there: {choices}. Expected the SegNet "
            f"layout of CamVid, or the original one: {camvid_colors.FOLDERS}."
        )
    return listed_pairs(root, listing)
