"""Cityscapes as its archives unpack: 34 labels to 19, and files that belong together."""

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

# The train id of each label of the files, 0…33, as cityscapesScripts prints them.
TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
TRAIN_IDS += [255, 255, 16, 17, 18]
FRAMES = ("aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "zürich/zürich_000000_000019")


@pytest.fixture
def tree(tmp_path):
    """Three frames of two cities; mask n holds the labels 0…33, rolled by n."""
    for number, frame in enumerate(FRAMES):
        image = tmp_path / "leftImg8bit" / "train" / f"{frame}_leftImg8bit.png"
        mask = tmp_path / "gtFine" / "train" / f"{frame}_gtFine_labelIds.png"
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (17, 2), (number,) * 3).save(image)
        labels = np.roll(np.arange(34, dtype=np.uint8), number).reshape(2, 17)
        Image.fromarray(labels).save(mask)
        # What else lies beside the masks.
        Image.fromarray(labels.astype(np.uint16) * 1000).save(str(mask).replace("labelIds", "instanceIds"))
        Image.new("RGBA", (17, 2)).save(str(mask).replace("labelIds", "color"))
        mask.with_name(mask.name.replace("_labelIds.png", "_polygons.json")).write_text("{}")
    return tmp_path


def test_labels_become_train_ids(tree):
    source = data.load("cityscapes", "train", tree)
    assert source.names == [f"{frame.split('/')[1]}_leftImg8bit.png" for frame in FRAMES]
    for number, (image, mask) in enumerate(source):
        assert (image == number).all()
        np.testing.assert_array_equal(mask.ravel(), np.roll(TRAIN_IDS, number))
    assert data.dataset_statistics(source).absent() == ()


def test_the_classes_that_are_evaluated(tree):
    info = data.load("cityscapes", "train", tree).info
    assert info.num_classes == 19 and info.class_names[:2] == ("road", "sidewalk")
    assert info.class_names[16:] == ("train", "motorcycle", "bicycle")
    assert dict(zip(info.class_names, info.palette, strict=True))["car"] == (0, 0, 142)


def test_files_without_a_counterpart_are_named(tree):
    mask = tree / "gtFine" / "train" / f"{FRAMES[1]}_gtFine_labelIds.png"
    mask.rename(tree / "away.png")
    with pytest.raises(FileNotFoundError, match=rf"1 of the 3 images .* among the masks.*\['{FRAMES[1]}'\]"):
        data.load("cityscapes", "train", tree)
    (tree / "away.png").rename(mask)
    (tree / "leftImg8bit" / "train" / f"{FRAMES[2]}_leftImg8bit.png").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of the 3 masks .* among the images.*\['{FRAMES[2]}'\]"):
        data.load("cityscapes", "train", tree)


def test_missing_and_empty_splits_are_named(tree):
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit/val'\. Expected one of the splits \['train'\]"):
        data.load("cityscapes", "val", tree)
    for folder in ("leftImg8bit", "gtFine"):
        (tree / folder / "val").mkdir()
    with pytest.raises(ValueError, match=r"Split 'val' of .* is empty"):
        data.load("cityscapes", "val", tree)


def test_a_label_that_cityscapes_does_not_have_is_located(tree):
    path = tree / "gtFine" / "train" / f"{FRAMES[0]}_gtFine_labelIds.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[1, 3] = 34
    Image.fromarray(mask).save(path)
    with pytest.raises(
        ValueError, match=r"has label 34 at row 1, column 3\. Expected 7…8, 11…13, .* 19 classes"
    ):
        data.load("cityscapes", "train", tree)[0]
