"""Frames and masks from files: what can be read is read as it is, what cannot is named."""

import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tfsegkd.data.files import FileSource
from tfsegkd.data.images import read_image
from tfsegkd.data.masks import MaskReading, read_mask
from tfsegkd.data.paths import directory
from tfsegkd.data.source import DatasetInfo, same_fingerprint
from tfsegkd.data.statistics import Subset

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


@pytest.mark.parametrize("mode", ["CMYK", "F"])
def test_masks_of_other_modes_are_refused(tmp_path, mode):
    path = tmp_path / "mask.tif"
    Image.fromarray(IMAGE[..., 0]).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    with pytest.raises(
        ValueError, match=rf"mask\.tif' is of mode '{mode}'\. Expected labels of 8 or 16 bits"
    ):
        read_mask(path)


def test_masks_in_color_are_refused_where_no_colors_are_known(tmp_path):
    Image.fromarray(np.repeat(MASK[..., None], 3, -1)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), MASK)
    Image.fromarray(IMAGE).save(tmp_path / "mask.png")
    with pytest.raises(
        ValueError, match=r"mask\.png' is in color: \(0, 1, 2\) at row 0, column 0.*colors\.txt"
    ):
        read_mask(tmp_path / "mask.png")


def test_masks_of_sixteen_bits_are_labels(tmp_path):
    deep = np.where(MASK == 2, np.uint16(65535), MASK)
    image, mask = pair(tmp_path, deep)
    assert Image.open(mask).mode == "I;16"
    np.testing.assert_array_equal(read_mask(mask), deep)
    labels = FileSource(INFO, [(image, mask)], reading=MaskReading({65535: 255}))[0][1]
    np.testing.assert_array_equal(labels, np.where(MASK == 2, 255, MASK))
    assert labels.dtype == np.uint8
    with pytest.raises(
        ValueError, match=r"has label 65535 at row 0, column 2\. Expected 0…2 .* or 255 for void"
    ):
        FileSource(INFO, [(image, mask)])[0]
    # 257 must not wrap around to the class 1.
    Image.fromarray(MASK + np.uint16(256)).save(mask)
    with pytest.raises(ValueError, match="has label 256 at row 0"):
        FileSource(INFO, [(image, mask)])[0]


def test_a_mask_of_32_bits_is_read_as_far_as_it_holds_labels(tmp_path):
    Image.fromarray(MASK.astype(np.int32)).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), MASK)
    Image.fromarray(MASK.astype(np.int32) - 1).save(tmp_path / "mask.tif")
    with pytest.raises(ValueError, match=r"mask\.tif' is of mode 'I'"):
        read_mask(tmp_path / "mask.tif")


# EXIF's orientations: what to do with the stored picture so that it stands upright.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_photographs_are_read_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(IMAGE).save(tmp_path / "photo.png", exif=exif)
    Image.fromarray(MASK).save(tmp_path / "mask.png", exif=exif)
    upright = TURNS[orientation]
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), upright(IMAGE))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), upright(MASK))
    if orientation >= 5:  # on its side
        source = FileSource(INFO, [(tmp_path / "photo.png", pair(tmp_path)[1])])
        with pytest.raises(ValueError, match=r"is 5×4 but its mask .* is 4×5 .*One of them is rotated"):
            source[0]


def test_a_bad_tag_does_not_hide_a_photograph(tmp_path):
    """Its orientation is known; what else its EXIF data say, nobody asked."""
    tags = [(0x0100, 2, b"no\0\0"), (0x0112, 3, struct.pack("<HH", 6, 0))]
    entries = b"".join(struct.pack("<HHI", tag, kind, 1) + value for tag, kind, value in tags)
    exif = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    Image.fromarray(IMAGE).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), TURNS[6](IMAGE))


def picture_that_claims(width, height):
    """A PNG of a few bytes whose header speaks of any size."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 100_000])
def test_decompression_bombs_are_refused_before_they_are_opened(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(picture_that_claims(side, side))
    for read in (read_image, read_mask):
        with pytest.raises(ValueError, match=r"Cannot read .*bomb\.png.*pixels"):
            read(tmp_path / "bomb.png")


def test_a_program_in_a_picture_s_clothes_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    assert Image.open(tmp_path / "a.png").format == "EPS"
    with pytest.raises(ValueError, match=r"Cannot read .*a\.png': cannot identify"):
        read_image(tmp_path / "a.png")


def test_the_first_picture_of_an_animation_is_read(tmp_path):
    frames = [Image.new("L", (5, 4), value) for value in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert set(np.unique(read_image(tmp_path / "a.gif"))) == {50}


COLORS = {(250, 0, 0): 0, (0, 250, 0): 1, (0, 0, 250): 2, (9, 9, 9): 2, (0, 0, 0): 255}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors_become_labels(tmp_path, mode):
    random = np.random.default_rng(0)
    chosen = random.integers(0, 5, (4, 5))
    pixels = np.array(list(COLORS), np.uint8)[chosen]
    picture = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else None
    (picture or Image.fromarray(pixels).convert(mode)).save(tmp_path / "mask.png")
    image, _ = pair(tmp_path)
    labels = FileSource(INFO, [(image, tmp_path / "mask.png")], reading=MaskReading(colors=COLORS))[0][1]
    assert labels.tolist() == [[COLORS[tuple(color)] for color in row] for row in pixels.tolist()]
    # Where colors are known, grey masks still hold labels.
    assert (
        FileSource(INFO, [pair(tmp_path)], reading=MaskReading(colors=COLORS))[0][1].tolist() == MASK.tolist()
    )


@pytest.mark.parametrize("color", [(0, 250, 1), (255, 255, 255), (0, 0, 1), (249, 0, 0)])
def test_a_color_without_a_class_is_located(tmp_path, color):
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[2, 3] = pixels[3, 0] = color
    image, mask = pair(tmp_path, pixels)
    message = (
        rf"mask_frame\.png' has color {re.escape(str(color))} at row 2, column 3, without a class "
        rf"\(2 such pixels\)\. Expected the 5 colors of 'streets'"
    )
    with pytest.raises(ValueError, match=message):
        FileSource(INFO, [(image, mask)], reading=MaskReading(colors=COLORS))[0]


def test_a_mask_that_jpeg_has_spoilt_says_so(tmp_path):
    Image.fromarray(100 * MASK).save(tmp_path / "mask.jpg")
    image, _ = pair(tmp_path)
    with pytest.raises(ValueError, match="JPEG changes the values of a mask: export it as PNG"):
        FileSource(INFO, [(image, tmp_path / "mask.jpg")])[0]


def test_labels_are_read_as_told(tmp_path):
    source = FileSource(INFO, [pair(tmp_path, np.where(MASK == 2, 11, MASK))], reading=MaskReading({11: 255}))
    np.testing.assert_array_equal(source[0][1], np.where(MASK == 2, 255, MASK))


def test_a_label_without_a_class_is_located(tmp_path):
    mask = MASK.copy()
    mask[2, 3] = 7
    source = FileSource(INFO, [pair(tmp_path, mask)], reading=MaskReading({11: 255}))
    message = (
        r"mask_frame\.png' has label 7 at row 2, column 3\. Expected 0…2 .* 3 classes, or 11, 255 for void"
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
        with pytest.raises(ValueError, match=r"Cannot read .*damaged\.png.*skip_bad=True"):
            read_image(damaged)
    for position in range(0, len(whole), 5):
        damaged.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:  # some bytes do not matter; the others must not raise anything else
            read_image(damaged)
        except ValueError as error:
            assert "damaged.png" in str(error)


def test_a_directory_must_be_given_and_exist(tmp_path):
    assert directory(str(tmp_path), "folder") == tmp_path
    with pytest.raises(ValueError, match=r"'folder' lies in files\. Say where with `data_dir"):
        directory(None, "folder")
    with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere'"):
        directory(tmp_path / "nowhere", "folder")


def test_an_edit_of_any_file_is_another_fingerprint_and_a_copy_is_not(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()

    def opened(directory):
        pairs = [(directory / f"image_{n}.png", directory / f"mask_{n}.png") for n in range(5)]
        return FileSource(INFO, pairs)

    for number in range(5):
        pair(here, name=f"{number}.png")
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    before, part = opened(here).fingerprint(), Subset(opened(here), [1, 2, 3]).fingerprint()
    assert opened(there).fingerprint() == before
    for edited in ("mask_2.png", "image_2.png"):
        shutil.copytree(there, here, dirs_exist_ok=True)
        Image.new("RGB" if "image" in edited else "L", (5, 4)).save(here / edited)
        after = opened(here).fingerprint()
        assert after != before and not same_fingerprint(before, after)
        assert Subset(opened(here), [1, 2, 3]).fingerprint() != part
        # The first and the last example are as before, and older fingerprints are of these.
        assert same_fingerprint(before.partition("-")[0], after)
