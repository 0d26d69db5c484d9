"""tools/predict.py on images, animations and what is wrong with them."""

import csv

import numpy as np
import pytest
from PIL import Image

from tfsegkd._keras import keras


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network whose class is the strongest color, with the names of its classes beside it."""
    image = keras.Input((32, 48, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(image), name="strongest")
    model.get_layer("logits").set_weights([np.eye(3)[None, None], np.zeros(3)])
    path = tmp_path_factory.mktemp("saved") / "strongest.keras"
    model.save(path)
    path.with_name("labels.txt").write_text("red\n=green\nblue\n")
    return path


def plain(color, size=(64, 40)):
    return Image.new("RGB", size, color)


def shares(directory):
    with (directory / "shares.csv").open(newline="") as stream:
        head, *rows = csv.reader(stream)
    return head, {row[0]: [float(value) for value in row[1:]] for row in rows}


def test_images_of_one_name_do_not_overwrite_each_other(shell, network, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    plain("red").save(tmp_path / "in" / "a.png")
    plain("blue").save(tmp_path / "in" / "a.bmp")
    plain((0, 200, 0)).save(tmp_path / "in" / "deep" / "a.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    result = shell("predict", f"--model={network}", f"--images={tmp_path}/in/**/*", f"--output_dir={out}")
    assert result.code == 0, result.err
    head, found = shares(out)
    assert head == ["image", "red", "'=green", "blue"]
    assert found == {"a.png": [1, 0, 0], "a.bmp": [0, 0, 1], "deep/a": [0, 1, 0]}
    for name, label in (("a.png", 0), ("a.bmp", 2), ("deep/a", 1)):
        with Image.open(out / f"{name}_mask.png") as mask:
            assert mask.size == (64, 40) and (np.asarray(mask) == label).all()
        assert (out / f"{name}_overlay.png").is_file()
    assert "3 images in" in result.out and "a second" in result.out and " ms each" in result.out


def test_symbolic_links_have_names_of_their_own(shell, network, tmp_path):
    stored = tmp_path / "annex" / "ab" / "1f00"
    stored.parent.mkdir(parents=True)
    plain("blue").save(stored, "PNG")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("street.png", "again.png"):
        (photos / name).symlink_to(stored)
    out = tmp_path / "out"
    result = shell("predict", f"--model={network}", f"--images={photos}", f"--output_dir={out}")
    assert result.code == 0, result.err
    assert shares(out)[1] == {"street": [0, 0, 1], "again": [0, 0, 1]}
    pictures = {"street_mask.png", "street_overlay.png", "again_mask.png", "again_overlay.png"}
    assert {path.name for path in out.iterdir()} == {"shares.csv", *pictures}


def test_windows_see_what_is_too_small_when_resized(shell, network, tmp_path):
    image = np.zeros((320, 480, 3), np.uint8)
    image[..., 0] = 200
    image[100:102, ::2] = (0, 0, 255)  # thinner than a pixel of the network
    Image.fromarray(image).save(tmp_path / "large.png")
    flags = (f"--model={network}", f"--images={tmp_path / 'large.png'}")
    for kind, blue in (("--nosliding_window", 0), ("--sliding_window", 480 / (320 * 480))):
        out = tmp_path / kind.strip("-")
        assert shell("predict", *flags, kind, f"--output_dir={out}").code == 0
        assert shares(out)[1]["large"][2] == pytest.approx(blue, abs=1e-6)


def test_an_animation_is_taken_frame_by_frame(shell, network, tmp_path):
    first, *others = (plain(color) for color in ("red", "blue", "red", "blue", (0, 200, 0)))
    first.save(tmp_path / "clip.gif", save_all=True, append_images=others, duration=40)
    plain("blue").save(tmp_path / "still.gif")
    out = tmp_path / "out"
    flags = (f"--model={network}", f"--images={tmp_path}/*.gif", "--every=2", f"--output_dir={out}")
    result = shell("predict", *flags)
    assert result.code == 0, result.err
    found = shares(out)[1]
    assert list(found) == ["clip_000000", "clip_000002", "clip_000004", "still"]
    assert found["clip_000000"] == [1, 0, 0] and found["still"] == [0, 0, 1]
    assert "clip.gif: red 67 %, =green 33 %" in result.out


def test_what_was_seen_before_a_damaged_file_is_kept(shell, network, tmp_path):
    plain("red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    out = tmp_path / "out"
    result = shell("predict", f"--model={network}", f"--images={tmp_path}", f"--output_dir={out}")
    assert result.code == 1 and result.err.splitlines()[-1].startswith("error: Cannot read")
    assert shares(out)[1] == {"a": [1, 0, 0]}


def test_files_of_others_are_not_replaced(shell, network, tmp_path):
    plain("red").save(tmp_path / "a.png")
    Image.new("L", (64, 40), 7).save(tmp_path / "a_mask.png")
    flags = (f"--model={network}", f"--images={tmp_path / 'a.png'}", f"--output_dir={tmp_path}")
    result = shell("predict", *flags)
    assert result.code == 1 and "a_mask.png' exists" in result.err and "--output_dir" in result.err
    with Image.open(tmp_path / "a_mask.png") as mask:
        assert mask.getextrema() == (7, 7)
    (tmp_path / "a_mask.png").unlink()
    for _ in range(2):  # its own results are
        assert shell("predict", *flags).code == 0
