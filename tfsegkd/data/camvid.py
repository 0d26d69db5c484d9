"""CamVid in the SegNet layout."""

from pathlib import Path, PurePosixPath

from tfsegkd.data.files import FileSource, directory
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


@datasets.register("camvid")
def camvid(split: str, data_dir=None, without: str = "", only: str = "") -> Source:
    """Road scenes from a car in Cambridge, 480×360, 11 classes.

    The SegNet layout: `<split>.txt` with an image path and a mask path on each line. The paths keep the
    prefix of whoever made the list; what counts is their last two parts, such as `train/0001TP_006690.png`.

    Args:
        split: The list's name without `.txt`: 'train', 'val' or 'test'.
        data_dir: The directory that holds the lists and the folders.
        without: Leave out the sequence whose frame names begin so, such as '0006R0', in quotes.
            Frames of one sequence look alike, so hold out a whole one when choosing between methods.
        only: Keep just that sequence.

    Raises:
        FileNotFoundError: if the list or a file in it is missing.
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
    listing = root / f"{split}.txt"
    if not listing.is_file():
        choices = sorted(path.stem for path in root.glob("*.txt"))
        raise FileNotFoundError(
            f"No list {str(listing)!r} for split {split!r}. Lists there: {choices}. Expected the SegNet "
            f"layout of CamVid."
        )
    pairs = []
    for number, line in enumerate(listing.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        paths = line.split()
        if len(paths) != 2:
            raise ValueError(
                f"Line {number} of {str(listing)!r} is {line!r}. Expected an image path and a mask path."
            )
        image, mask = (_inside(root, path) for path in paths)
        if image.name.startswith(only) and not (without and image.name.startswith(without)):
            pairs.append((image, mask))
    if not pairs:
        raise ValueError(f"No frame of {str(listing)!r} is left with only={only!r} and without={without!r}.")
    return FileSource(INFO, pairs, relabel={_VOID: INFO.ignore_label})


def _inside(root: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts[-2:]
    if ".." in parts or parts[:1] == ("/",):
        raise ValueError(f"Path {path!r} in a list of {str(root)!r} leaves the directory. Correct the list.")
    return root.joinpath(*parts)
