"""Frames and masks from files: what can be read is read as it is, what cannot is named."""

import numpy as np
import pytest
from PIL import Image

from tfsegkd.data.files import FileSource, directory, read_image, read_mask
from tfsegkd.data.source import DatasetInfo

INFO = DatasetInfo("streets", ("road", "car", "sky"), ((0, 0, 0), (9, 0, 0), (0, 0, 9)))
IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3


def pair(directory, mask=MASK, image=IMAGE, name="frame.png"):
    paths = directory / f"image_{name}", directory / f"mask_{name}"
    for path, array in zip(paths, (image, mask), strict=True):
        Image.fromarray(array).save(path)
    return paths


def test_a_frame_and_its_mask_come_back_as_they_were_written(tmp_path):
    source = FileSource(INFO, [pair(tmp_path), pair(tmp_path, 2 - MASK, name="other.png")])
    assert len(source) == 2
    assert source.names == ["image_frame.png", "image_other.png"]
    image, mask = source[0]
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(mask, MASK)
    assert image.dtype == mask.dtype == np.uint8
    np.testing.assert_array_equal(source[-1][1], 2 - MASK)
    assert [m[0, 0] for _, m in source] == [0, 2]
    with pytest.raises(IndexError, match="Example 2 of 2"):
        source[2]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("L", lambda grey: np.stack([grey] * 3, -1)),
        ("RGBA", lambda grey: np.stack([grey, grey // 2, 255 - grey], -1)),
        ("P", lambda grey: np.stack([grey, 255 - grey, np.zeros_like(grey)], -1)),
        ("1", lambda grey: np.stack([(grey > 100) * np.uint8(255)] * 3, -1)),
    ],
)
def test_images_of_any_mode_become_rgb(tmp_path, mode, expected):
    grey = np.arange(0, 240, 12, dtype=np.uint8).reshape(4, 5)
    if mode == "RGBA":
        picture = Image.fromarray(np.stack([grey, grey // 2, 255 - grey, grey], -1))
    elif mode == "1":
        picture = Image.fromarray(grey > 100)
    else:
        picture = Image.fromarray(grey)
    if mode == "P":
        picture.putpalette([value for n in range(256) for value in (n, 255 - n, 0)])
    assert picture.mode == mode
    picture.save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected(grey))


def test_sixteen_bit_grey_keeps_its_contrast(tmp_path):
    grey = np.linspace(0, 65535, 20).astype(np.uint16).reshape(4, 5)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    np.testing.assert_allclose(image[..., 0], grey / 257, atol=1)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_of_32_bits_are_refused_rather_than_clipped(tmp_path, mode):
    Image.new(mode, (5, 4), 1000).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=rf"deep\.tif': its pixels are 32-bit values of mode '{mode}'"):
        read_image(tmp_path / "deep.tif")


def test_masks_with_a_palette_are_indices_and_bilevel_masks_are_zero_and_one(tmp_path):
    picture = Image.fromarray(MASK)
    picture.putpalette([200, 100, 50, 0, 0, 0, 9, 9, 9])
    picture.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), MASK)
    Image.fromarray(MASK == 1).save(tmp_path / "bilevel.png")
    bilevel = read_mask(tmp_path / "bilevel.png")
    assert bilevel.dtype == np.uint8
    np.testing.assert_array_equal(bilevel, MASK == 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_masks_that_are_not_one_byte_a_pixel_are_refused(tmp_path, mode):
    path = tmp_path / "mask.png"
    (Image.new("I;16", (5, 4)) if mode == "I;16" else Image.fromarray(IMAGE).convert(mode)).save(path)
    with pytest.raises(ValueError, match=r"mask\.png' is of mode .* Expected 8-bit labels"):
        read_mask(path)


def test_labels_are_read_as_told(tmp_path):
    source = FileSource(INFO, [pair(tmp_path, np.where(MASK == 2, 11, MASK))], relabel={11: 255})
    np.testing.assert_array_equal(source[0][1], np.where(MASK == 2, 255, MASK))


def test_a_label_without_a_class_is_located(tmp_path):
    mask = MASK.copy()
    mask[2, 3] = 7
    source = FileSource(INFO, [pair(tmp_path, mask)], relabel={11: 255})
    message = (
        r"mask_frame\.png' has label 7 at row 2, column 3\. Expected 0…2 for the 3 classes, or .*11, 255"
    )
    with pytest.raises(ValueError, match=message):
        source[0]


def test_sizes_must_agree(tmp_path):
    source = FileSource(INFO, [pair(tmp_path, MASK.T)])
    with pytest.raises(ValueError, match=r"image_frame\.png' is 4×5 but its mask .*mask_frame\.png' is 5×4"):
        source[0]


def test_missing_files_are_named_before_anything_is_read(tmp_path):
    good = pair(tmp_path)
    (tmp_path / "image_broken.png").write_bytes(b"")
    absent = tmp_path / "nowhere.png"
    with pytest.raises(FileNotFoundError, match=r"1 files of streets are missing, the first: .*nowhere\.png"):
        FileSource(INFO, [good, (tmp_path / "image_broken.png", absent)])


def test_damaged_files_raise_value_errors_that_name_the_file(tmp_path):
    image, _ = pair(tmp_path, image=np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    whole = image.read_bytes()
    damaged = tmp_path / "damaged.png"
    for length in range(0, len(whole) - 20, 7):  # the last 20 bytes are checksums and an end mark
        damaged.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"Cannot read .*damaged\.png.*--skip_bad_examples"):
            read_image(damaged)
    for position in range(0, len(whole), 5):
        damaged.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:  # some bytes do not matter; the others must not raise anything else
            read_image(damaged)
        except ValueError as error:
            assert "damaged.png" in str(error)


def test_a_directory_must_be_given_and_exist(tmp_path):
    assert directory(str(tmp_path), "folder") == tmp_path
    with pytest.raises(ValueError, match=r"'folder' lies in files\. Say where with --data_dir"):
        directory(None, "folder")
    with pytest.raises(FileNotFoundError, match="nowhere' is not a directory"):
        directory(tmp_path / "nowhere", "folder")
