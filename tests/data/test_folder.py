"""The user's own images and masks, in whatever form they come."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def write(root, stems, mask=MASK, labels="road\ncar\nsky\n"):
    """Writes images/, masks/ and labels.txt; image n is filled with 10 n."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(stems):
        Image.new("RGB", mask.shape[1::-1], (10 * number,) * 3).save(root / "images" / f"{stem}.png")
        Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
    if labels is not None:
        (root / "labels.txt").write_text(labels, encoding="utf-8")
    return root


def test_images_and_masks_are_paired_by_name(tmp_path):
    write(tmp_path, ["b", "a", "c.d"])
    Image.new("L", (3, 2), 77).save(tmp_path / "images" / "Zürich street 1.JPG")
    Image.fromarray(2 - MASK).save(tmp_path / "masks" / "Zürich street 1.PNG")
    (tmp_path / "images" / "notes.md").write_text("not an image")
    source = data.load("folder", "all", tmp_path)
    assert source.names == ["Zürich street 1.JPG", "a.png", "b.png", "c.d.png"]
    assert [int(image[0, 0, 0]) for image, _ in source] == [77, 10, 0, 20]
    np.testing.assert_array_equal(source[0][1], 2 - MASK)
    np.testing.assert_array_equal(source[1][1], MASK)


def test_grey_images_become_rgb_and_palettes_become_labels(tmp_path):
    write(tmp_path, ["a"])
    Image.fromarray(40 * MASK).save(tmp_path / "images" / "a.png")
    mask = Image.fromarray(MASK)
    mask.putpalette([0, 255, 0, 255, 0, 0, 0, 0, 255])
    mask.save(tmp_path / "masks" / "a.png")
    image, mask = data.load("folder", "all", tmp_path)[0]
    np.testing.assert_array_equal(image, np.stack([40 * MASK] * 3, -1))
    np.testing.assert_array_equal(mask, MASK)


def test_class_names_and_colors(tmp_path):
    write(tmp_path, ["a"], labels="  Straße \n\ncar\nsky\r\n")
    info = data.load("folder", "all", tmp_path).info
    assert info.class_names == ("Straße", "car", "sky")
    assert info.ignore_label == 255
    assert len(set(info.palette)) == 3


def test_every_fifth_example_is_for_validation(tmp_path):
    write(tmp_path, [f"{n:02}" for n in range(11)])
    train, val, both = (data.load("folder", split, tmp_path).names for split in ("train", "val", "all"))
    assert val == ["04.png", "09.png"]
    assert sorted(train + val) == both
    assert not set(train) & set(val)


def test_sub_directories_are_splits(tmp_path):
    write(tmp_path / "train", ["a", "b"], labels=None)
    write(tmp_path / "night", ["c"], labels=None)
    (tmp_path / "labels.txt").write_text("road\ncar\nsky")
    assert data.load("folder", "train", tmp_path).names == ["a.png", "b.png"]
    assert data.load("folder", "night", tmp_path).names == ["c.png"]


@pytest.mark.parametrize("value", [1, 255])
def test_two_classes_may_be_a_black_and_white_picture(tmp_path, value):
    write(tmp_path, ["a", "b"], value * (MASK == 2).astype(np.uint8), labels="rest\nthing")
    # One all-black mask must not decide for the others.
    Image.fromarray(0 * MASK).save(tmp_path / "masks" / "a.png")
    source = data.load("folder", "all", tmp_path)
    assert not source[0][1].any()
    np.testing.assert_array_equal(source[1][1], MASK == 2)


def test_bilevel_masks_are_two_classes(tmp_path):
    write(tmp_path, ["a"], MASK == 2, labels="rest\nthing")
    np.testing.assert_array_equal(data.load("folder", "all", tmp_path)[0][1], MASK == 2)


def test_255_stays_void_where_label_1_occurs_or_when_asked(tmp_path):
    write(tmp_path, ["a"], np.array([[0, 1, 255]], np.uint8), labels="rest\nthing")
    np.testing.assert_array_equal(data.load("folder", "all", tmp_path)[0][1], [[0, 1, 255]])
    write(tmp_path, ["a"], np.array([[0, 0, 255]], np.uint8), labels="rest\nthing")
    source = data.load("folder(ignore_label=255)", "all", tmp_path)
    np.testing.assert_array_equal(source[0][1], [[0, 0, 255]])


def test_another_label_may_be_void_and_then_255_is_not(tmp_path):
    write(tmp_path, ["a", "b"], np.where(MASK == 2, 9, MASK).astype(np.uint8))
    Image.fromarray(np.where(MASK == 2, 255, MASK).astype(np.uint8)).save(tmp_path / "masks" / "b.png")
    source = data.load("folder(ignore_label=9)", "all", tmp_path)
    np.testing.assert_array_equal(source[0][1], np.where(MASK == 2, 255, MASK))
    with pytest.raises(ValueError, match=r"b\.png' has label 255 at row 0, column 2\. .* or 9 for void"):
        source[1]


@pytest.mark.parametrize(("kind", "other"), [("images", "masks"), ("masks", "images")])
def test_what_has_no_counterpart_is_named(tmp_path, kind, other):
    write(tmp_path, ["a", "b"])
    (tmp_path / other / "b.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"1 of the 2 {kind} .* no counterpart among the {other}.*\['b'\]"
    ):
        data.load("folder", "all", tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    write(tmp_path, ["a", "b"])
    Image.new("RGB", (3, 2)).save(tmp_path / "images" / "b.jpg")
    with pytest.raises(ValueError, match=r"has several files with the names \['b\.jpg'\]"):
        data.load("folder", "all", tmp_path)


def test_sizes_and_labels_are_checked(tmp_path):
    write(tmp_path, ["a", "b"])
    Image.fromarray(MASK.T.copy()).save(tmp_path / "masks" / "a.png")
    Image.fromarray(MASK + np.uint8(1)).save(tmp_path / "masks" / "b.png")
    source = data.load("folder", "all", tmp_path)
    with pytest.raises(ValueError, match=r"images/a\.png' is 2×3 but its mask .*masks/a\.png' is 3×2"):
        source[0]
    with pytest.raises(ValueError, match=r"masks/b\.png' has label 3 at row 0, column 2\. Expected 0…2"):
        source[1]


def test_an_unreadable_mask_waits_for_whoever_reads_it(tmp_path):
    write(tmp_path, ["a", "b"], 255 * (MASK == 2).astype(np.uint8), labels="rest\nthing")
    path = tmp_path / "masks" / "a.png"
    path.write_bytes(path.read_bytes()[:40])
    source = data.load("folder", "all", tmp_path)
    with pytest.raises(ValueError, match=r"Cannot read .*masks/a\.png"):
        source[0]
    np.testing.assert_array_equal(source[1][1], MASK == 2)
    assert data.dataset_statistics(source, skip_bad=True).source.names == ["b.png"]


@pytest.mark.parametrize("labels", ["", "\n \n", "road\n", "road\ncar\nroad\n"])
def test_fewer_than_two_different_classes_are_refused(tmp_path, labels):
    write(tmp_path, ["a"], labels=labels)
    with pytest.raises(ValueError, match=r"labels\.txt' has \d names?.*Expected 2 to 255 different ones"):
        data.load("folder", "all", tmp_path)


def test_missing_directories_and_lists_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere'"):
        data.load("folder", "all", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"No .*labels\.txt'"):
        data.load("folder", "all", tmp_path)
    (tmp_path / "labels.txt").write_text("road\ncar")
    with pytest.raises(FileNotFoundError, match=r"No directory .*images'"):
        data.load("folder", "all", tmp_path)


def test_unknown_and_empty_splits(tmp_path):
    write(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match=r"No split 'test' .* or one of \['train', 'val', 'all'\]"):
        data.load("folder", "test", tmp_path)
    with pytest.raises(ValueError, match=r"Split 'val' of .* is empty.*fewer than five"):
        data.load("folder", "val", tmp_path)


def test_unknown_data_sets_and_options_list_the_choices(tmp_path):
    assert {"camvid", "folder", "road_scenes"} <= set(data.names())
    with pytest.raises(ValueError, match=r"Unknown data set 'foldr'.*Did you mean 'folder'"):
        data.load("foldr", "all", tmp_path)
    with pytest.raises(ValueError, match=r"Wrong arguments for data set 'folder'.*ignore_label"):
        data.load("folder(void=3)", "all", tmp_path)


def test_colors_are_read_by_a_list_of_them(tmp_path):
    lines = "0 0 0 void\n250 0 0\troad\n0,250,0,car\n0 0 250  sky\n\n250 250 0 road\n1 1 1 VOID\n"
    pixels = np.array(
        [[(250, 0, 0), (250, 250, 0), (0, 0, 250)], [(0, 250, 0), (0, 0, 0), (1, 1, 1)]], np.uint8
    )
    write(tmp_path, ["a"], pixels)
    (tmp_path / "colors.txt").write_text(lines)
    source = data.load("folder", "all", tmp_path)
    assert source[0][1].tolist() == [[0, 0, 2], [1, 255, 255]]
    assert source.info.palette == ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def test_colors_without_names_are_in_label_order(tmp_path):
    write(tmp_path, ["a"], np.array([[(3, 3, 3), (1, 1, 1), (2, 2, 2)]], np.uint8))
    (tmp_path / "colors.txt").write_text("1 1 1\n2 2 2\n3 3 3\n")
    assert data.load("folder", "all", tmp_path)[0][1].tolist() == [[2, 0, 1]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 1 1 road\n2 2 2 car\n", r"has no color for \['sky'\]"),
        ("1 1 1 road\n2 2 2 car\n1 1 1 sky\n", r"Line 3 .* a repeated color"),
        ("1 1 1 rode\n", r"Line 1 .*'1 1 1 rode', and 'rode' is no class\. Expected .*'road', 'car', 'sky'"),
        ("1 1 256 road\n", r"Line 1 .* Expected 'red green blue name', each 0…255"),
        ("#ff0000 road\n", r"Line 1 .* Expected 'red green blue name'"),
        ("1 1 1\n2 2 2\n3 3 3\n4 4 4\n", r"Line 4 .* and '' is no class"),
    ],
)
def test_faults_in_the_list_of_colors_are_numbered(tmp_path, lines, message):
    write(tmp_path, ["a"])
    (tmp_path / "colors.txt").write_text(lines)
    with pytest.raises(ValueError, match=message):
        data.load("folder", "all", tmp_path)


def test_a_color_without_a_class_names_pixel_and_file(tmp_path):
    write(tmp_path, ["a"], np.array([[(1, 1, 1), (7, 8, 9)]], np.uint8))
    (tmp_path / "colors.txt").write_text("1 1 1\n2 2 2\n3 3 3\n")
    with pytest.raises(
        ValueError, match=r"masks/a\.png' has color \(7, 8, 9\) at row 0, column 1, without a class"
    ):
        data.load("folder", "all", tmp_path)[0]


def test_sixteen_bit_masks_may_have_a_deep_void(tmp_path):
    write(tmp_path, ["a"], np.array([[0, 2, 65535]], np.uint16))
    assert data.load("folder(ignore_label=65535)", "all", tmp_path)[0][1].tolist() == [[0, 2, 255]]
    with pytest.raises(ValueError, match="label 65535 at row 0, column 2"):
        data.load("folder", "all", tmp_path)[0]
    with pytest.raises(ValueError, match="ignore_label of folder must be a number from 0 to 65535"):
        data.load("folder(ignore_label=70000)", "all", tmp_path)


def test_names_are_the_same_however_their_accents_are_written(tmp_path):
    write(tmp_path, ["a"])
    for kind, form in (("images", "NFC"), ("masks", "NFD")):
        (tmp_path / kind / "a.png").rename(tmp_path / kind / f"{unicodedata.normalize(form, 'Zürich é')}.png")
    np.testing.assert_array_equal(data.load("folder", "all", tmp_path)[0][1], MASK)


def test_frames_of_odd_and_different_sizes(tmp_path):
    write(tmp_path, [])
    for number, (height, width) in enumerate([(1, 1), (7, 3), (31, 33), (64, 65)]):
        mask = np.arange(height * width).reshape(height, width) % 3
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
        Image.new("RGB", (width, height)).save(tmp_path / "images" / f"{number}.png")
    source = data.load("folder", "all", tmp_path)
    assert [mask.shape for _, mask in source] == [(1, 1), (7, 3), (31, 33), (64, 65)]
    images, masks = next(iter(data.evaluation_batches(source, (5, 9), 4)))
    assert images.shape == (4, 5, 9, 3) and masks.shape == (4, 5, 9)


def test_a_data_set_may_say_where_it_lies(tmp_path):
    write(tmp_path, ["a"])
    assert len(data.load(f"folder(data_dir={str(tmp_path)!r})", "all", "elsewhere")) == 1
