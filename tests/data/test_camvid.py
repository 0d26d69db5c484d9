"""CamVid in the SegNet layout: lists written by others, void, and what may be wrong with them."""

import os

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

NAMES = ("0001TP_000030.png", "0006R0_f00930.png", "0016E5_00390.png")
PREFIX = "/SegNet/CamVid/"


@pytest.fixture
def tree(tmp_path):
    """Three frames whose masks hold the labels 0…11, void included."""
    lines = []
    for number, name in enumerate(NAMES):
        for kind in ("train", "trainannot"):
            (tmp_path / kind).mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 4, 3), 10 * number, np.uint8)).save(tmp_path / "train" / name)
        mask = np.roll(np.arange(12, dtype=np.uint8), number).reshape(3, 4)
        Image.fromarray(mask).save(tmp_path / "trainannot" / name)
        lines.append(f"{PREFIX}train/{name} {PREFIX}trainannot/{name}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    return tmp_path


def test_other_prefixes_are_dropped_and_void_becomes_the_ignore_label(tree):
    source = data.load("camvid", "train", tree)
    assert source.info.num_classes == len(source.info.palette) == 11
    assert source.names == list(NAMES)
    for number, (image, mask) in enumerate(source):
        assert (image == 10 * number).all()
        labels = np.roll([*range(11), 255], number).reshape(3, 4)
        np.testing.assert_array_equal(mask, labels)


@pytest.mark.parametrize("prefix", ["", "./", "data/CamVid/", "/", "../elsewhere/"])
def test_any_prefix_will_do_and_blank_lines_are_passed_over(tree, prefix):
    lines = (f"{prefix}train/{name}\t{prefix}trainannot/{name}\r\n\n" for name in NAMES)
    (tree / "train.txt").write_text("".join(lines))
    assert len(data.load("camvid", "train", str(tree))) == 3


def test_sequences_are_held_out_or_kept(tree):
    assert data.load("camvid(without='0006R0')", "train", tree).names == [NAMES[0], NAMES[2]]
    assert data.load("camvid(only='0006R0')", "train", tree).names == [NAMES[1]]
    with pytest.raises(ValueError, match=r"camvid\(only='0016E5'\)"):
        data.load("camvid(only=0016E5)", "train", tree)
    with pytest.raises(ValueError, match=r"'Seq05'.*0006R0"):
        data.load("camvid(only=('0006R0', 'Seq05'))", "train", tree)
    with pytest.raises(ValueError, match="is left"):
        data.load("camvid(only='0006R0', without='0006R0')", "train", tree)


def test_several_sequences_are_held_out_or_kept(tree):
    first, last = (name.split("_")[0] for name in (NAMES[0], NAMES[2]))
    names = {"without": [NAMES[1]], "only": [NAMES[0], NAMES[2]]}
    for option, left in names.items():
        assert data.load(f"camvid({option}=({first!r}, {last!r}))", "train", tree).names == left
    # A sequence of another split leaves this one as it is.
    assert data.load("camvid(without=('Seq05', '0006R0'))", "train", tree).names == [NAMES[0], NAMES[2]]
    with pytest.raises(ValueError, match="in quotes"):
        data.load("camvid(without=('0006R0', 7))", "train", tree)


def test_parts_are_cut_in_the_order_of_names_and_miss_no_frame(tree):
    lines = [f"train/{name} trainannot/{name}" for name in reversed(NAMES)]
    (tree / "train.txt").write_text("\n".join(lines))
    ordered = sorted(NAMES)
    assert data.load("camvid(part=(0, 0.4))", "train", tree).names == ordered[:1]
    assert data.load("camvid(part=(0.4, 1))", "train", tree).names == ordered[1:]


def test_a_few_frames_and_all_others_are_the_whole(tree):
    ordered = sorted(NAMES)
    assert data.load("camvid(spread=2)", "train", tree).names == [ordered[0], ordered[2]]
    assert data.load("camvid(without_spread=2)", "train", tree).names == [ordered[1]]
    assert data.load("camvid(part=(0.4, 1), spread=1)", "train", tree).names == ordered[1:2]
    with pytest.raises(ValueError, match="spread of camvid must be a whole number from 1 to 3"):
        data.load("camvid(spread=4)", "train", tree)
    with pytest.raises(ValueError, match=r"No frame .* is left .*without_spread=3"):
        data.load("camvid(without_spread=3)", "train", tree)


@pytest.mark.parametrize("part", ["0.5", "(0.5, 0.5)", "(0, 0.5, 1)", "(-1, 1)", "('a', 1)"])
def test_a_part_that_is_no_part_is_refused(tree, part):
    with pytest.raises(ValueError, match="fractions"):
        data.load(f"camvid(part={part})", "train", tree)


def test_a_missing_list_names_those_that_are_there(tree):
    with pytest.raises(FileNotFoundError, match=r"val\.txt' for split 'val'\. Lists there: \['train'\]"):
        data.load("camvid", "val", tree)


def test_a_missing_frame_is_named(tree):
    (tree / "trainannot" / NAMES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 files of camvid are missing, .*trainannot/{NAMES[1]}"):
        data.load("camvid", "train", tree)


@pytest.mark.parametrize("line", ["train/a.png", "a b c", "train/a file.png trainannot/a.png"])
def test_a_malformed_line_is_numbered(tree, line):
    with (tree / "train.txt").open("a") as listing:
        listing.write(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"Line 5 of .*train\.txt' is .* Expected an image path and a mask"):
        data.load("camvid", "train", tree)


@pytest.mark.parametrize("path", ["../secret.png", "train/..", "/secret.png"])
def test_paths_stay_inside_the_directory(tree, path):
    (tree.parent / "secret.png").write_bytes(b"")
    (tree / "train.txt").write_text(f"{path} trainannot/{NAMES[0]}\n")
    with pytest.raises(ValueError, match="leaves the directory"):
        data.load("camvid", "train", tree)


def test_a_label_without_a_class_is_located(tree):
    Image.fromarray(np.full((3, 4), 12, np.uint8)).save(tree / "trainannot" / NAMES[0])
    with pytest.raises(ValueError, match="has label 12 at row 0, column 0"):
        data.load("camvid", "train", tree)[0]


@pytest.fixture(scope="module")
def real():
    path = os.environ.get("TFSEGKD_CAMVID", "")
    if not os.path.isfile(os.path.join(path, "train.txt")):
        pytest.skip("set TFSEGKD_CAMVID to a directory that holds CamVid in the SegNet layout")
    return path


def test_the_published_numbers_of_frames(real):
    counts = [len(data.load("camvid", split, real)) for split in ("train", "val")]
    assert counts == [367, 101]
    sequences = {name.split("_")[0] for name in data.load("camvid", "train", real).names}
    left = data.load(f"camvid(without={min(sequences)!r})", "train", real)
    held = data.load(f"camvid(only={min(sequences)!r})", "train", real)
    assert len(held) > 0
    assert len(left) + len(held) == 367


def test_every_published_validation_frame_reads_with_plausible_shares(real):
    source = data.load("camvid", "val", real)
    assert {image.shape for image, _ in (source[0], source[50], source[100])} == {(360, 480, 3)}
    pixels = np.array(data.dataset_statistics(source).pixels)
    assert len(pixels) == 12
    assert pixels.sum() == 101 * 360 * 480
    assert 0.01 < pixels[-1] / pixels.sum() < 0.1
    shares = dict(zip(source.info.class_names, pixels[:-1] / pixels.sum(), strict=True))
    assert min(shares.values()) > 0
    assert max(shares, key=shares.get) in ("Road", "Building")
    assert shares["Pole"] < 0.03 < shares["Sky"]
