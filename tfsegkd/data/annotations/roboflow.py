"""Data sets in Roboflow's format "Semantic Segmentation Masks"."""

from collections.abc import Sequence
from pathlib import Path

from tfsegkd.data import splits
from tfsegkd.data.annotations.split_names import same_split
from tfsegkd.data.annotations.vocabulary import vocabulary, without_background
from tfsegkd.data.files import FileSource
from tfsegkd.data.masks import MaskReading
from tfsegkd.data.paths import Pair, counterparts, directories_in, directory, lines, pictures
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import Source

_CLASSES, _ENDING = "_classes.csv", "_mask"


@datasets.register("roboflow")
def roboflow(
    split: str, data_dir=None, classes: Sequence[str] | None = None, unlabelled: str = "background"
) -> Source:
    """Masks of Roboflow: `train/NAME.jpg`, `train/NAME_mask.png` and `train/_classes.csv`, and so on.

    Args:
        split: A directory's name, also 'val' for `valid`; or 'train', 'val' or 'all' of files in one
            directory, which are divided by groups of neighbours.
        data_dir: The directory. A `labels.txt` in it may select classes and their order.
        classes: The names to use, in label order; all, by value, by default.
        unlabelled: The meaning of the class 'background': a class, or 'void'.

    Raises:
        FileNotFoundError: if there is no _classes.csv, or an image or a mask has no counterpart.
        ValueError: if a _classes.csv is damaged, or the split does not exist.
    """
    root = directory(data_dir, "roboflow")
    folders = [folder for folder in (root, *directories_in(root)) if (folder / _CLASSES).is_file()]
    if not folders:
        raise FileNotFoundError(
            f"No {_CLASSES} in {str(root)!r} or a directory in it. Expected an export of Roboflow as "
            f"Semantic Segmentation Masks. Correct `data_dir`."
        )
    tables = {folder: _values(folder / _CLASSES) for folder in folders}
    names = (name for table in tables.values() for name in table.values())
    found = without_background(names, unlabelled)
    words = vocabulary("roboflow", found, root, classes, unlabelled)
    notes = words.notes
    if folders == [root]:
        if split not in splits.SPLITS:
            raise ValueError(f"No split {split!r} in {str(root)!r}. Expected one of {list(splits.SPLITS)}.")
        folder = root
        pairs, note = splits.made(_pairs(root), split)
        notes = (*notes, note)
    else:
        folder = next((folder for folder in folders if same_split(folder.name, split)), None)
        if folder is None:
            choices = [folder.name for folder in folders]
            raise ValueError(f"No split {split!r} in {str(root)!r}. Expected one of {choices}.")
        pairs = _pairs(folder)
    if not pairs:
        raise ValueError(
            f"Split {split!r} of {str(root)!r} is empty. Expected NAME.jpg and NAME{_ENDING}.png."
        )
    relabel = dict.fromkeys(range(256)) | {
        value: words.labels.get(name, words.rest) for value, name in tables[folder].items()
    }
    hint = f"Expected the values of {str(folder / _CLASSES)!r}; export the masks again."
    return FileSource(words.info, pairs, MaskReading(relabel, hint=hint), notes=notes)


def _pairs(folder: Path) -> list[Pair]:
    found = pictures(folder)
    masks = {stem.removesuffix(_ENDING): path for stem, path in found.items() if stem.endswith(_ENDING)}
    images = {stem: path for stem, path in found.items() if not stem.endswith(_ENDING)}
    return counterparts(images, masks, folder)


def _values(path: Path) -> dict[int, str]:
    """Returns the name of each value."""
    table: dict[int, str] = {}
    for number, line in list(lines(path))[1:]:  # below the header
        value, _, name = (part.strip() for part in line.partition(","))
        if not value.isdigit() or int(value) > 255 or not name or int(value) in table:
            raise ValueError(
                f"Line {number} of {str(path)!r} is {line!r}. Expected 'VALUE, CLASS', each value 0…255 and "
                f"once."
            )
        table[int(value)] = name
    return table
