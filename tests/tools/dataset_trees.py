"""Small trees of files in the layouts of the data sets."""

import numpy as np
import pytest
from PIL import Image

SIZE = (32, 48)
RANDOM = np.random.default_rng(0)


def save(path, array, suffix=".png", palette=None):
    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        picture.putpalette(palette)
    picture.save(path)


def frame():
    return RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def labels(values):
    """Stripes of the given values."""
    return np.sort(RANDOM.choice(values, SIZE), axis=0).astype(np.uint8)


def segnet(root):
    for split in ("train", "val"):
        lines = []
        for number in range(4):
            save(root / split / f"0001TP_{number:06d}", frame())
            save(root / f"{split}annot" / f"0001TP_{number:06d}", labels(range(12)))
            name = f"0001TP_{number:06d}.png"
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))


def camvid_32(root):
    colors = np.array([(128, 128, 128), (0, 128, 64), (128, 0, 192), (0, 0, 0), (64, 128, 192)], np.uint8)
    for number in (*range(390, 510, 30), *range(7959, 7967, 2)):
        save(root / "701_StillsRaw_full" / f"0016E5_{number:05d}", frame())
        save(root / "LabeledApproved_full" / f"0016E5_{number:05d}_L", colors[labels(range(5))])


def voc(root, train="trainaug"):
    root = root / "VOCdevkit" / "VOC2012"
    for split, numbers in ((train, range(4)), ("val", range(4, 8))):
        for number in numbers:
            save(root / "JPEGImages" / f"2007_{number:06d}", frame(), ".jpg")
            folder = "SegmentationClass" + "Aug" * (split == "trainaug")
            save(root / folder / f"2007_{number:06d}", labels([0, 7, 20, 255]), palette=[*range(256)] * 3)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("".join(f"2007_{number:06d}\n" for number in numbers))


def cityscapes(root):
    for split in ("train", "val"):
        for number in range(4):
            stem = f"{split}/ulm/ulm_{number:06d}_000019"
            save(root / "leftImg8bit" / f"{stem}_leftImg8bit", frame())
            save(root / "gtFine" / f"{stem}_gtFine_labelIds", labels(range(34)))


def folder(root):
    for number in range(10):
        save(root / "images" / f"Straße {number}", frame(), ".JPG")
        save(
            root / "masks" / f"Straße {number}", np.array([(0, 0, 0), (250, 0, 0)], np.uint8)[labels([0, 1])]
        )
    (root / "labels.txt").write_text("rest\nthing\nnothing")
    (root / "colors.txt").write_text("0 0 0 rest\n250 0 0 thing\n0 0 250 nothing")


def tfds(root):
    tensorflow_datasets = pytest.importorskip("tensorflow_datasets")
    features = tensorflow_datasets.features

    class TinyScenes(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tensorflow_datasets.core.Version("1.0.0")

        def _info(self):
            found = {"image": features.Image(), "segmentation_mask": features.LabeledImage(labels=["a", "b"])}
            return tensorflow_datasets.core.DatasetInfo(builder=self, features=features.FeaturesDict(found))

        def _split_generators(self, manager):
            return {split: self._generate_examples(4) for split in ("train", "validation")}

        def _generate_examples(self, count):
            for number in range(count):
                yield number, {"image": frame(), "segmentation_mask": labels([0, 1])[..., None]}

    config = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False)
    TinyScenes(data_dir=str(root)).download_and_prepare(download_config=config)
