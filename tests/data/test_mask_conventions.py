"""What the values of masks mean is decided once, from the masks of all splits, is said, or is asked."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfsegkd import data
from tfsegkd.data.masks import read_mask


def write(root, masks, labels=("soil", "stone"), colors=None, suffix="png"):
    """A folder of masks, arrays or pictures, by name; names may hold a split, as in 'train/a'."""
    for name, mask in masks.items():
        split, _, stem = name.rpartition("/")
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask, np.uint8))
        picture.save(root / split / "masks" / f"{stem}.{suffix}")
        Image.new("RGB", picture.size, (50, 80, 90)).save(root / split / "images" / f"{stem}.png")
    (root / "labels.txt").write_text("\n".join(labels))
    if colors:
        (root / "colors.txt").write_text(colors)
    return root


def read(root, split="all", options=""):
    """The labels of every mask, by name, and the notes."""
    source = data.load(f"folder({options})", split, root)
    labels = [mask.tolist() for _, mask in source]
    return {
        name.rpartition(".")[0]: mask for name, mask in zip(source.names, labels, strict=True)
    }, source.notes


def unseen(count):
    """A number of those that are not among 256 of `count` at equal distances."""
    return min(set(range(count)) - {round(number * (count - 1) / 255) for number in range(256)})


def said(notes, *words):
    return any(all(word in note for word in words) for note in notes)


# White of two classes: the second one, or void.


def test_white_means_the_same_in_every_split(tmp_path):
    # The training split alone would say black and white; the other shows that 255 is void.
    root = write(tmp_path, {"train/a": [[0, 255]], "val/b": [[0, 1, 255]], "val/c": [[0, 1]]})
    labels, notes = read(root, "train")
    assert labels == {"a": [[0, 255]]} and said(notes, "255", "void")
    root = write(tmp_path / "other", {"train/a": [[0, 255]], "val/b": [[0, 0]]})
    for split, expected in (("train", {"a": [[0, 1]]}), ("val", {"b": [[0, 0]]})):
        labels, notes = read(root, split)
        assert labels == expected and said(notes, "black and white", "'stone'")


def test_one_mask_with_the_thing_among_hundreds_without_decides(tmp_path):
    # Of those that are looked at first none has it.
    masks = {f"{number:03}": [[0, 0]] for number in range(300)} | {f"{unseen(300):03}": [[0, 255]]}
    labels, _ = read(write(tmp_path, masks))
    assert labels[f"{unseen(300):03}"] == [[0, 1]]


@pytest.mark.parametrize(("options", "white"), [("ignore_label=255", 255), (None, 1)])
def test_white_in_some_masks_and_one_in_others_is_asked(tmp_path, options, white):
    masks = {"a": [[0, 255]], "b": [[0, 1]], "c": [[0, 0]]}
    root = write(tmp_path, masks)
    with pytest.raises(
        ValueError, match=r"1 have the value 255 and 1 the value 1.*ignore_label=255.*colors\.txt"
    ):
        read(root)
    if options is None:  # the other choice of the message
        write(root, masks, colors="0 0 0 soil\n255 255 255 stone\n1 1 1 stone\n")
    assert read(root, options=options or "")[0] == {"a": [[0, white]], "b": [[0, 1]], "c": [[0, 0]]}


def test_a_one_that_turns_up_later_is_no_thing_of_black_and_white_masks(tmp_path):
    # Of 300 masks 256 are looked at; 1 stands in one that was not.
    masks = {f"{number:03}": [[0, 255]] for number in range(300)}
    root, hidden = write(tmp_path, masks), unseen(300)
    write(root, {f"{hidden:03}": [[0, 1]]})
    source = data.load("folder", "all", root)
    with pytest.raises(ValueError, match=r"has label 1 at row 0, column 1.*ignore_label=255"):
        source[hidden]


def test_files_of_one_bit_among_black_and_white_ones_are_black_and_white(tmp_path):
    bilevel = Image.fromarray(np.array([[False, True]]))
    labels, _ = read(write(tmp_path, {"a": [[255, 0]], "b": bilevel}))
    assert labels == {"a": [[1, 0]], "b": [[0, 1]]}


def test_smoothed_black_and_white_needs_a_threshold(tmp_path):
    root = write(tmp_path, {"a": [[0, 3, 130, 255]], "b": [[0, 127, 128, 254]]})
    with pytest.raises(ValueError, match=r"values 0, 3, 127…128, 130, 254…255.*threshold=128"):
        read(root)
    assert read(root, options="threshold=128")[0] == {"a": [[0, 0, 1, 1]], "b": [[0, 0, 1, 1]]}


def test_jpeg_masks_are_black_and_white_by_a_threshold_or_refused(tmp_path):
    disc = 255 * (np.hypot(*np.mgrid[-20:20, -20:20]) < 12).astype(np.uint8)
    root = write(tmp_path, {"a": disc}, suffix="jpg")
    assert len(np.unique(read_mask(root / "masks" / "a.jpg"))) > 2
    with pytest.raises(ValueError, match=r"threshold=128"):
        read(root)
    assert read(root, options="threshold=128")[0]["a"] == (disc > 0).tolist()
    # Labels that lie within the classes are no better for having come through.
    root = write(tmp_path / "labels", {"a": disc // 255}, labels=("soil", "stone", "root"), suffix="jpg")
    with pytest.raises(ValueError, match=r"a\.jpg' is a JPEG.*export it as PNG"):
        read(root)


# Labels that are numbered from 1.


def test_labels_from_one(tmp_path):
    root = write(tmp_path, {"train/a": [[1, 2]], "val/b": [[3, 255]]}, labels=("soil", "stone", "root"))
    assert read(root, "train")[0] == {"a": [[0, 1]]}
    labels, notes = read(root, "val")
    assert labels == {"b": [[2, 255]]} and said(notes, "numbered from 1", "1 is 'soil', 3 is 'root'")


def test_labels_from_zero_to_the_number_of_classes_are_asked(tmp_path):
    root = write(tmp_path, {"a": [[0, 1]], "b": [[0, 3]]}, labels=("soil", "stone", "root"))
    with pytest.raises(
        ValueError, match=r"label 3 at row 0, column 1.*before 'soil' in labels\.txt.*offset=1"
    ):
        read(root)
    assert read(root, options="offset=1")[0] == {"a": [[255, 0]], "b": [[255, 2]]}
    write(root, {}, labels=("rest", "soil", "stone", "root"))
    assert read(root)[0] == {"a": [[0, 1]], "b": [[0, 3]]}


def test_where_the_first_class_never_occurs_it_is_said(tmp_path):
    labels, notes = read(write(tmp_path, {"a": [[1, 2]]}, labels=("soil", "stone", "root")))
    assert labels == {"a": [[1, 2]]} and said(notes, "'soil'", "offset=1")
    assert not read(write(tmp_path / "b", {"a": [[0, 2]]}, labels=("soil", "stone", "root")))[1][1:]


def test_shades_without_a_list_of_colors_are_told_what_to_write(tmp_path):
    root = write(tmp_path, {"a": [[0, 100, 200]]}, labels=("soil", "stone", "root"))
    with pytest.raises(ValueError, match=r"label 100.*labels 0, 100, 200.*colors\.txt.*'100 100 100 NAME'"):
        read(root)


# Grey masks beside colors.txt.

SHADES = "255 255 255 soil\n0 0 0 stone\n90 90 90 void\n"


def test_shades_are_read_by_the_list_of_colors(tmp_path):
    bilevel = Image.fromarray(np.array([[True, False]]))
    root = write(tmp_path, {"a": [[0, 255, 90]], "b": bilevel, "c": [[255, 255]]}, colors=SHADES)
    labels, notes = read(root)
    assert labels == {"a": [[1, 0, 255]], "b": [[0, 1]], "c": [[0, 0]]}
    assert said(notes, "colors.txt", "0 is 'stone'", "90 is 'void'")


def test_labels_beside_a_list_of_colors_for_drawing(tmp_path):
    colors = "10 200 10 soil\n90 90 90 stone\n"
    labels, notes = read(write(tmp_path, {"a": [[0, 1, 255]]}, colors=colors))
    assert labels == {"a": [[0, 1, 255]]} and said(notes, "hold labels")


def test_values_that_are_shades_and_labels_of_other_classes_are_asked(tmp_path):
    colors = "1 1 1 soil\n0 0 0 stone\n200 0 0 root\n"
    root = write(tmp_path, {"a": [[0, 1]]}, labels=("soil", "stone", "root"), colors=colors)
    with pytest.raises(ValueError, match=r"values 0…1.*grey_masks=colors\) or folder\(grey_masks=labels"):
        read(root)
    assert read(root, options="grey_masks=colors")[0] == {"a": [[1, 0]]}
    assert read(root, options="grey_masks=labels")[0] == {"a": [[0, 1]]}


def test_a_shade_without_a_class_is_refused_by_the_list(tmp_path):
    root = write(tmp_path, {"a": [[0, 255]], "b": [[0, 7]]}, colors=SHADES)
    source = data.load("folder", "all", root)
    with pytest.raises(ValueError, match=r"b\.png' has label 7 at row 0, column 1\. Expected 0, 255"):
        source[1]


# Formats and depths.


def test_indices_of_a_gif_are_not_its_labels(tmp_path):
    # Whoever writes a GIF leaves out unused colors: here 2 becomes 1.
    picture = Image.fromarray(np.array([[2, 2, 0]], np.uint8))
    picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    names = ("soil", "stone", "root")
    root = write(tmp_path, {"a": picture}, names, "0 0 0 soil\n250 0 0 stone\n0 250 0 root\n", suffix="gif")
    assert np.asarray(Image.open(root / "masks" / "a.gif")).max() == 1
    assert read(root)[0] == {"a": [[2, 2, 0]]}
    (root / "colors.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.gif' is in color: \(0, 250, 0\)"):
        read(root)
    # Black and white ones are what they seem, and so are grey ones.
    assert read(write(tmp_path / "b", {"a": [[0, 255]]}, suffix="gif"))[0] == {"a": [[0, 1]]}
    assert read(write(tmp_path / "c", {"a": [[2, 0, 1]]}, names, suffix="gif"))[0] == {"a": [[2, 0, 1]]}


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_several_channels_of_sixteen_bits_are_refused_rather_than_cut(tmp_path, channels):
    values = np.arange(6, dtype=np.uint16).reshape(1, 6, 1) % 3
    path = tmp_path / "deep.png"
    path.write_bytes(tf.io.encode_png(np.repeat(values, channels, -1)).numpy())
    with pytest.raises(ValueError, match=r"deep\.png' has several channels of 16 bits"):
        read_mask(path)
    path.write_bytes(tf.io.encode_png(values).numpy())
    assert read_mask(path).tolist() == [[0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_samples_of_few_bits_are_labels_as_they_stand(tmp_path, bits):
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    labels, per_byte = [0, 1, 2, 3], 8 // bits
    packed = [
        sum(value << (8 - bits * (place + 1)) for place, value in enumerate(labels[start : start + per_byte]))
        for start in range(0, 4, per_byte)
    ]
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0))
    content += chunk(b"IDAT", zlib.compress(bytes([0, *packed]))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert read_mask(tmp_path / "a.png").tolist() == [labels]
    root = write(tmp_path / "set", {"a": [[0, 1, 2, 3]]}, labels=("a", "b", "c", "d"))
    (root / "masks" / "a.png").write_bytes(content)
    assert read(root)[0] == {"a": [labels]}
    # As shades they go from black to white.
    step = 255 // (2**bits - 1)
    lines = "".join(f"{value * step} {value * step} {value * step} {'dcba'[value]}\n" for value in labels)
    (root / "colors.txt").write_text(lines)
    (root / "masks" / "b.png").unlink(missing_ok=True)
    assert read(root, options="grey_masks=colors")[0] == {"a": [[3, 2, 1, 0]]}


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_masks_are_read_and_transparent_ones_refused(tmp_path, mode):
    values = np.array([[0, 1, 2]], np.uint8)
    picture = Image.fromarray(values).convert(mode)
    picture.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == values.tolist()
    picture.putalpha(Image.fromarray(np.array([[255, 255, 0]], np.uint8)))
    picture.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png' is partly transparent"):
        read_mask(tmp_path / "a.png")


# Hidden files of other systems.


def test_hidden_files_and_directories_are_no_examples(tmp_path):
    root = write(tmp_path, {"a": [[0, 1]], "b": [[1, 0]]})
    for kind in ("images", "masks"):
        for hidden in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
            (root / kind / hidden).mkdir()
            Image.new("L", (2, 1)).save(root / kind / hidden / "a-checkpoint.png")
    (root / "images" / ".hidden.png").write_bytes(b"")
    (root / "images" / "folder.png").mkdir()
    assert sorted(read(root)[0]) == ["a", "b"]
    assert data.load("unlabelled", "all", root / "images").names == ["a.png", "b.png"]


# Photographs that are stored turned.


def turned(root, orientations, size=(4, 6), drawn_on_stored=True):
    """Photographs of one size with EXIF orientations; a mask marks the upper left corner of its pixels."""
    masks = {}
    for number, orientation in enumerate(orientations):
        shape = size if drawn_on_stored or orientation < 5 else size[::-1]
        mask = np.zeros(shape, np.uint8)
        mask[0, 0] = 1
        masks[str(number)] = mask
    write(root, masks)
    for number, orientation in enumerate(orientations):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = Image.new("RGB", size[::-1])
        picture.putpixel((0, 0), (255, 255, 255))
        picture.save(root / "images" / f"{number}.png", exif=exif)
    return root


def test_sizes_tell_that_masks_were_drawn_on_stored_pixels(tmp_path):
    source = data.load("folder", "all", turned(tmp_path, [1, 6, 3, 8]))
    for image, mask in source:
        assert (mask == (image[..., 0] > 0)).all() and mask.sum() == 1
    assert said(source.notes, "3 photographs", "both are rotated upright")


def test_sizes_tell_that_masks_were_drawn_on_upright_photographs(tmp_path):
    source = data.load("folder", "all", turned(tmp_path, [1, 6, 3], drawn_on_stored=False))
    assert [mask[0, 0] for _, mask in source] == [1, 1, 1]
    assert [image.shape[:2] for image, _ in source] == [(4, 6), (6, 4), (4, 6)]
    assert said(source.notes, "2 photographs", "masks are not changed")


@pytest.mark.parametrize(("orientations", "size"), [([1, 3], (4, 6)), ([6], (5, 5)), ([2, 4], (4, 6))])
def test_turned_photographs_are_asked_about_where_sizes_do_not_tell(tmp_path, orientations, size):
    root = turned(tmp_path, orientations, size)
    with pytest.raises(ValueError, match=r"\d photographs are stored rotated.*mask_orientation=own.*=image"):
        data.load("folder", "all", root)
    for image, mask in data.load("folder(mask_orientation=image)", "all", root):
        assert (mask == (image[..., 0] > 0)).all()
    assert all(mask[0, 0] for _, mask in data.load("folder(mask_orientation=own)", "all", root))


def test_masks_that_are_turned_themselves_raise_no_question(tmp_path):
    root = turned(tmp_path, [1, 3])
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(root / "masks" / "1.png") as mask:
        mask.save(root / "masks" / "1.png", exif=exif)
    source = data.load("folder", "all", root)
    assert all((mask == (image[..., 0] > 0)).all() for image, mask in source)


# Options that contradict.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("threshold=128, offset=1", "threshold=128"),
        ("threshold=0", "threshold of folder"),
        ("offset=300", "offset of folder"),
        ("grey_masks=colors", "colors.txt"),
        ("grey_masks=shades", "grey_masks of folder"),
        ("mask_orientation=up", "mask_orientation of folder"),
    ],
)
def test_options_are_checked(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        read(write(tmp_path, {"a": [[0, 1]]}), options=options)


@pytest.mark.parametrize("name", ["trail", "crack in the wall"])
def test_one_class_is_told_of_the_other(tmp_path, name):
    with pytest.raises(ValueError, match=rf"without '{name}' have a class, too.*'background'"):
        read(write(tmp_path, {"a": [[0, 1]]}, labels=(name,)))
