"""Data sets of TensorFlow Datasets."""

import itertools
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfsegkd import checks
from tfsegkd.data import cityscapes
from tfsegkd.data.labels import distinct_colors
from tfsegkd.data.masks import LabelTable, numbered_from, one_channel
from tfsegkd.data.registry import datasets
from tfsegkd.data.source import IGNORE_LABEL, DatasetInfo, Source


class _Known(NamedTuple):
    """Properties of a data set that TFDS does not have."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    relabel: Mapping[int, int | None]


_KNOWN = {
    "oxford_iiit_pet": _Known(
        ("pet", "background", "border"), distinct_colors(3), {0: None, 1: 0, 2: 1, 3: 2}
    ),
    "cityscapes": _Known(cityscapes.INFO.class_names, cityscapes.INFO.palette, cityscapes.RELABEL),
}
_MASK_WORDS = ("segmentation", "mask", "label", "annotation")


@datasets.register("tfds")
def tfds(
    split: str,
    name: str,
    data_dir=None,
    image: str | None = None,
    mask: str | None = None,
    names: Sequence[str] | None = None,
    offset: int = 0,
    ignore_label: int = IGNORE_LABEL,
    download: bool = False,
) -> Source:
    """Any data set of TensorFlow Datasets that has an image and a mask, as `tfds:NAME`.

    TFDS has class names for few data sets. Those of oxford_iiit_pet (pet, background, border) and cityscapes
    (19 train ids) are included here; for others, pass `names`.

    Args:
        split: The split in TFDS, also in parts: 'train', 'test', 'train[:80%]'. 'val' stands for
            'validation'.
        name: The data set, with its config: 'oxford_iiit_pet', 'cityscapes/semantic_segmentation'.
        data_dir: The directory of TFDS; ~/tensorflow_datasets by default.
        image, mask: The features; found by type by default.
        names: The names of the classes.
        offset: The label of the first class in the masks; lower labels are void.
        ignore_label: The label of void in the masks.
        download: Whether TFDS may download and prepare the data set.

    Raises:
        FileNotFoundError: if the data set is not prepared in `data_dir`.
        ValueError: for an unknown data set, split or feature, or if the classes are unknown.
    """
    builder = _builder(name, data_dir, download)
    features = _features(builder.info.features, name, image, mask)
    known = _KNOWN.get(builder.name)
    if names is None and offset == 0 and ignore_label == IGNORE_LABEL and known:
        info, relabel = DatasetInfo(f"tfds:{name}", known.names, known.palette), known.relabel
    else:
        names = names or getattr(builder.info.features[features[1]], "names", None)
        if not names or len(names) > IGNORE_LABEL or not all(isinstance(each, str) for each in names):
            raise ValueError(
                f"The classes of tfds:{name} are not known. Expected up to {IGNORE_LABEL} names. Received: "
                f"{names!r}. Say them, as in \"tfds:{name}(names=['pet', 'background'])\"."
            )
        info = DatasetInfo(f"tfds:{name}", tuple(names), distinct_colors(len(names)))
        relabel = _relabel(len(names), offset, ignore_label)
    return TFDSSource(builder, split, info, features, LabelTable(info, relabel))


class TFDSSource(Source):
    """A split of a prepared TFDS data set, by index.

    Args:
        builder: The data set.
        split: The split in TFDS.
        info: The classes.
        features: The names of the image and mask features.
        labels: Maps values of the masks to labels.
    """

    def __init__(
        self, builder: Any, split: str, info: DatasetInfo, features: tuple[str, str], labels: LabelTable
    ):
        splits = builder.info.splits
        if split == "val" and "val" not in splits and "validation" in splits:
            split = "validation"
        try:
            self._records = _open(builder, split, features)
        except ValueError as error:  # an unknown or malformed split
            raise ValueError(
                f"Split {split!r} of tfds:{builder.name}: {error} Choose another `split`."
            ) from None
        super().__init__(info, [f"{split}_{index:05d}" for index in range(len(self._records))])
        self._features, self._labels = features, labels

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        example = self._records[index]
        image, mask = (np.asarray(example[name]) for name in self._features)
        name = f"{self.info.name} {self.names[index]}"
        if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or image.dtype != np.uint8:
            raise ValueError(
                f"The image of {name!r} is {image.dtype} of shape {image.shape}. Expected uint8, (H, W, 1 or "
                f"3 or 4). Choose the feature: tfds:NAME(image=FEATURE)."
            )
        if mask.ndim == 3:
            mask = one_channel(mask, name)
        if mask.shape != image.shape[:2] or mask.dtype.kind not in "iub":
            raise ValueError(
                f"The mask of {name!r} is {mask.dtype} of shape {mask.shape}, its image of "
                f"{image.shape[:2]}. Expected labels of the image's size. Choose the feature: "
                f"tfds:NAME(mask=FEATURE)."
            )
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, -1)
        return image[..., :3], self._labels(mask, name)


class _TFRecords:
    """Random access to the examples in TFRecord files, which TFDS reads sequentially only.

    Args:
        instructions: The parts of files of the split, from TFDS.
        features: The features to decode.
    """

    def __init__(self, instructions, features):
        self._features = features
        self._records = []
        for part in instructions:
            records = _records(part.filename)
            end = part.skip + part.take if part.take >= 0 else None
            self._records += [
                (part.filename, *record) for record in itertools.islice(records, part.skip, end)
            ]

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        filename, begin, length = self._records[index]
        with open(filename, "rb") as file:
            file.seek(begin)
            return self._features.deserialize_example_np(file.read(length))


def _records(filename):
    """Returns the start and length of each record, which is between 12 bytes of header and 4 of checksum."""
    size, at = os.path.getsize(filename), 0
    with open(filename, "rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(12)
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else size
            if at + 16 + length > size:
                raise ValueError(f"file {filename!r} is damaged at byte {at}. Prepare the data set again.")
            yield at + 12, length
            at += 16 + length


def _open(builder, split, features):
    import tensorflow_datasets

    part = builder.info.splits[split]
    if builder.info.file_format.value != "tfrecord":
        return builder.as_data_source(split)
    wanted = tensorflow_datasets.decode.PartialDecoding(dict.fromkeys(features, True))
    return _TFRecords(part.file_instructions, wanted.extract_features(builder.info.features))


def _builder(name, data_dir, download):
    import tensorflow_datasets  # slow to import, and only needed for these data sets

    if data_dir is not None:
        data_dir = str(Path(data_dir).expanduser())
    try:
        builder = tensorflow_datasets.builder(name, data_dir=data_dir)
    except tensorflow_datasets.core.DatasetNotFoundError:
        raise ValueError(
            f"TFDS has no data set {name!r}, and none is prepared in {data_dir or 'its directory'!r}. "
            f"Correct tfds:NAME or `data_dir`."
        ) from None
    if download:
        builder.download_and_prepare()
    if not builder.info.splits:
        raise FileNotFoundError(
            f"Data set tfds:{name} is not prepared in {os.fspath(builder.data_path)!r}. Correct `data_dir`, "
            f"or let TFDS download it: `dataset='tfds:{name}(download=True)'`."
        )
    return builder


def _features(features, name, image, mask):
    """Returns the names of the image and mask features."""
    import tensorflow_datasets

    kind_of_picture = tensorflow_datasets.features.Image
    pictures = {key for key, feature in features.items() if isinstance(feature, kind_of_picture)}
    masks = {key for key in pictures if features[key].shape[-1] == 1 or hasattr(features[key], "names")}
    masks = {key for key in masks if any(word in key for word in _MASK_WORDS)} or masks
    found = []
    for kind, choice, choices in (("image", image, pictures - masks), ("mask", mask, masks)):
        if choice is not None:
            checks.one_of(choice, list(features), f"{kind} of tfds:{name}")
        elif len(choices) == 1:
            (choice,) = choices
        elif "image" in choices:
            choice = "image"
        else:
            raise ValueError(
                f"Which feature of tfds:{name} is the {kind}? Candidates: {sorted(choices)}, of "
                f"{list(features)}. Expected one. Say it, as in tfds:{name}({kind}=FEATURE)."
            )
        found.append(choice)
    return tuple(found)


def _relabel(count, offset, ignore_label):
    checks.in_range(offset, 0, 255, "offset of tfds")
    checks.in_range(ignore_label, 0, 65535, "ignore_label of tfds")
    return numbered_from(offset, count, ignore_label)
