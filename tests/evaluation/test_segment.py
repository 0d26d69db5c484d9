"""Masks of images of any size, whole and through windows, and the files they become."""

import csv

import numpy as np
import pytest
from fake_source import INFO
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfsegkd.data import DatasetInfo, read_mask
from tfsegkd.evaluation import class_shares, segment, write_mask, write_shares
from tfsegkd.evaluation.segment import starts


class PixelByPixel:
    """A network whose classes are the largest of three colors, at half the resolution if asked to."""

    size, num_classes = (8, 12), 3

    def __init__(self):
        self.seen = []

    def logits(self, images):
        assert images.shape[1:] == (*self.size, 3)
        self.seen.append(images.copy())
        return images.astype(np.float32)


class BlindAtBorders(PixelByPixel):
    """Is wrong in the outermost two pixels of whatever it sees."""

    def logits(self, images):
        logits = super().logits(images)
        wrong = np.ones(self.size, bool)
        wrong[2:-2, 2:-2] = False
        logits[:, wrong] = [0, 0, 20]
        return logits


@pytest.mark.parametrize("size", [(8, 12), (9, 12), (30, 41), (16, 24), (8, 100)])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_windows_see_every_pixel_as_it_is(size, overlap):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = segment(PixelByPixel(), image, sliding_window=True, overlap=overlap)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, image.argmax(-1))


def test_where_windows_overlap_the_one_that_knows_better_decides():
    image = np.zeros((8, 36, 3), np.uint8)
    image[..., 0] = 20
    mask = segment(BlindAtBorders(), image, sliding_window=True, overlap=0.5)
    assert (mask[2:-2, 2:-2] == 0).all(), "no window's border shows inside"
    assert (mask[:, :2] == 2).all(), "where nobody knows better"
    apart = segment(BlindAtBorders(), image, sliding_window=True, overlap=0)
    assert (apart[2:-2, 10:14] == 2).all()


def test_an_image_smaller_than_a_window_is_enlarged():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3, 1], image[:, 3:, 2] = 200, 200
    network = PixelByPixel()
    mask = segment(network, image, sliding_window=True)
    np.testing.assert_array_equal(mask, [[1, 1, 1, 2, 2, 2]] * 4)
    assert len(network.seen) == 1


def test_without_windows_the_whole_image_is_seen_at_once():
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, ..., 1], image[32:, ..., 0] = 200, 200
    network = PixelByPixel()
    mask = segment(network, image)
    assert len(network.seen) == 1 and mask.shape == (64, 96)
    assert (mask[:30] == 1).all() and (mask[34:] == 0).all()


@given(st.integers(1, 300), st.integers(0, 900), st.floats(0, 0.9))
def test_windows_cover_and_overlap(window, more, overlap):
    length = window + more
    found = starts(length, window, overlap)
    assert found[0] == 0 and found[-1] == length - window and found == sorted(set(found))
    steps = np.diff(found)
    # Rounding to pixels may cost one.
    assert all(step <= max(1, window * (1 - overlap)) + 1 for step in steps)
    assert all(step <= window for step in steps)


@pytest.mark.parametrize("overlap", [-0.1, 0.95, True])
def test_an_overlap_out_of_range(overlap):
    with pytest.raises(ValueError, match="overlap"):
        segment(PixelByPixel(), np.zeros((9, 9, 3), np.uint8), sliding_window=True, overlap=overlap)


def test_a_mask_s_palette_shows_it_and_its_values_are_labels(tmp_path):
    mask = np.array([[0, 1], [4, 2]], np.uint8)
    write_mask(tmp_path / "mask.png", mask, INFO)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.array(INFO.palette)[mask])


@pytest.mark.parametrize("classes", [2, 3, 11, 21])
def test_void_stays_void_in_a_mask(classes, tmp_path):
    info = DatasetInfo("some", tuple(map(str, range(classes))), ((9, 9, 9),) * classes)
    mask = np.array([[0, 1], [255, classes - 1]], np.uint8)
    write_mask(tmp_path / "mask.png", mask, info)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)


def test_shares_are_numbers_and_names_are_no_formulas(tmp_path):
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    names = ["=cmd|' /C calc'!A0", "a, b", "+1", "@x", "-y", "\tz"]
    shares = class_shares(mask, len(names))
    write_shares(tmp_path / "shares.csv", names, [("=1+1", shares), ("b", shares)])
    with (tmp_path / "shares.csv").open(newline="", encoding="utf-8") as stream:
        head, first, second = csv.reader(stream)
    assert head == ["image", "'=cmd|' /C calc'!A0", "a, b", "'+1", "'@x", "'-y", "'\tz"]
    assert first[0] == "'=1+1" and second[0] == "b"
    assert [float(value) for value in first[1:]] == [0.25, 0.75, 0, 0, 0, 0]
