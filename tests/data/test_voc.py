"""VOC in the layout of VOCdevkit: palette masks, the border, and SBD's further masks."""

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

NAMES = ("2007_000032", "2007_000039", "2007_000063")
# The first colors of the devkit, and the last class.
PALETTE = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128)}
PALETTE |= {8: (64, 0, 0), 15: (192, 128, 128), 16: (0, 64, 0), 20: (0, 64, 128)}


def write(top, below="VOCdevkit/VOC2012"):
    """Three frames; mask n holds the labels n, n + 7 and n + 14 and a border of 255."""
    root = top / below
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate((*NAMES, "2008_000002")):
        image = np.full((5, 7, 3), 60 * number, np.uint8)
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=100)
        mask = mask_of(number)
        Image.fromarray(mask).save(root / "SegmentationClassAug" / f"{name}.png")
        picture = Image.fromarray(mask)
        picture.putpalette([value for n in range(256) for value in PALETTE.get(n, (n, n, n))])
        if name in NAMES:  # the last has SBD's mask alone
            picture.save(root / "SegmentationClass" / f"{name}.png")
    lists = {"train": NAMES[:2], "val": NAMES[2:], "trainaug": (*NAMES[:2], "2008_000002")}
    for split, names in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def mask_of(number):
    mask = np.full((5, 7), 255, np.uint8)
    mask[1, 1:6], mask[2, 1:6], mask[3, 1:6] = number, number + 7, number + 14
    return mask


@pytest.mark.parametrize("below", ["VOCdevkit/VOC2012", "VOC2012", "."])
def test_frames_and_masks(tmp_path, below):
    write(tmp_path, below)
    source = data.load("voc", "train", tmp_path)
    assert source.names == [f"{name}.jpg" for name in NAMES[:2]]
    for number, (image, mask) in enumerate(source):
        assert abs(int(image[2, 3, 0]) - 60 * number) <= 2
        np.testing.assert_array_equal(mask, mask_of(number))  # the border is void


def test_classes_and_their_colors(tmp_path):
    write(tmp_path)
    info = data.load("voc", "val", tmp_path).info
    assert info.num_classes == 21 and info.ignore_label == 255
    assert (info.class_names[0], info.class_names[15], info.class_names[20]) == (
        "background",
        "person",
        "tvmonitor",
    )
    assert {label: info.palette[label] for label in PALETTE} == PALETTE


@pytest.mark.parametrize("split", ["trainaug", "train_aug"])
def test_the_list_of_sbd_takes_the_further_masks(tmp_path, split):
    root = write(tmp_path)
    source = data.load("voc", split, tmp_path)
    assert source.names[-1] == "2008_000002.jpg"
    np.testing.assert_array_equal(source[2][1], mask_of(3))
    # The other form in which that list goes around.
    lines = (f"/JPEGImages/{name[:-4]}.jpg /SegmentationClassAug/{name[:-4]}.png" for name in source.names)
    (root / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("\n".join(lines))
    again = data.load("voc", split, tmp_path)
    assert again.names == source.names
    np.testing.assert_array_equal(again[2][1], mask_of(3))


def test_another_year(tmp_path):
    write(tmp_path, "VOCdevkit/VOC2007")
    assert len(data.load("voc(year=2007)", "val", tmp_path)) == 1
    with pytest.raises(FileNotFoundError, match=r"Expected the layout of VOCdevkit; .*voc\(year=2012\)"):
        data.load("voc", "val", tmp_path)


def test_upper_case_suffixes_and_spaces(tmp_path):
    root = write(tmp_path)
    frames, masks = root / "JPEGImages", root / "SegmentationClass"
    (frames / f"{NAMES[0]}.jpg").rename(frames / "Straße 1.JPG")
    (masks / f"{NAMES[0]}.png").rename(masks / "Straße 1.png")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("Straße 1 \r\n", encoding="utf-8")
    source = data.load("voc", "train", tmp_path)
    assert source.names == ["Straße 1.JPG"]
    np.testing.assert_array_equal(source[0][1], mask_of(0))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../secret", "Expected an image path and a mask path"),
        ("..", "Expected the name of an image without suffix"),
        ("..\\secret", "Expected the name of an image without suffix"),
        ("/JPEGImages/../secret.jpg ../secret.png", "leaves the directory"),
    ],
)
def test_lists_do_not_leave_the_directory(tmp_path, line, message):
    root = write(tmp_path)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text(line)
    with pytest.raises(ValueError, match=message):
        data.load("voc", "train", tmp_path)


def test_what_is_missing_is_named(tmp_path):
    root = write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No list for split 'test' .*\['train', 'trainaug', 'val'\]"):
        data.load("voc", "test", tmp_path)
    (root / "SegmentationClassAug" / "2008_000002.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 files of voc are missing.*SegmentationClassAug/2008_000002\.png"
    ):
        data.load("voc", "trainaug", tmp_path)
    (root / "JPEGImages" / f"{NAMES[2]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 files of voc are missing.*JPEGImages/{NAMES[2]}\.jpg"):
        data.load("voc", "val", tmp_path)
    lists = root / "ImageSets" / "Segmentation"
    (lists / "trainaug.txt").unlink()
    with pytest.raises(FileNotFoundError, match="SBD's list does not come with VOC"):
        data.load("voc", "trainaug", tmp_path)
    (lists / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train\.txt' is empty"):
        data.load("voc", "train", tmp_path)


def test_a_label_between_the_classes_and_the_border_is_located(tmp_path):
    root = write(tmp_path)
    mask = mask_of(0)
    mask[4, 6] = 21
    Image.fromarray(mask).save(root / "SegmentationClass" / f"{NAMES[0]}.png")
    with pytest.raises(
        ValueError, match=r"has label 21 at row 4, column 6\. Expected 0…20 .*, or 255 for void"
    ):
        data.load("voc", "train", tmp_path)[0]
