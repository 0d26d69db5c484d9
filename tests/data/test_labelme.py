"""JSON files of LabelMe: shapes of every kind, splits, and faults."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

SIZE = (10, 14)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write(root, name, shapes, image=None, **changes):
    """An image and what LabelMe saves beside it."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    image = image or Image.new("RGB", SIZE[::-1], (9, 9, 9))
    image.save((root / name).with_suffix(".png"))
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{(root / name).name}.png",
        "imageData": "AAAA",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    (root / name).with_suffix(".json").write_text(json.dumps(content | changes))
    return root


def masks(root, split="all", options=""):
    source = data.load(f"labelme({options})", split, root)
    return {name: mask for name, (_, mask) in zip(source.names, source, strict=True)}, source


def png_of(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_shapes_of_every_kind(tmp_path):
    part = np.array([[0, 255, 0], [255, 255, 255]], np.uint8)
    shapes = [
        shape("field", box(0, 0, 14, 4)),
        shape("tree", [[6, 3], [3, 1]], "rectangle"),  # from any corner
        shape("bush", [[9, 4], [12, 5]], "mask", mask=png_of(part)),
        shape("field", [[4, 7], [4, 9]], "circle"),
        shape("tree", [[0, 9], [14, 9]], "line"),
        shape("tree", [[5, 5]], "point"),
    ]
    found, source = masks(write(tmp_path, "a", shapes))
    assert source.info.class_names == ("background", "bush", "field", "tree")
    expected = np.zeros(SIZE, int)
    expected[:4] = 2
    expected[1:3, 3:6] = 3
    expected[4:6, 9:12][part > 0] = 1
    rows, columns = np.indices(SIZE) + 0.5
    expected[np.hypot(rows - 7, columns - 4) < 1.95] = 2
    np.testing.assert_array_equal(found["a.png"], expected)
    assert any("2 points and lines" in note for note in source.notes)


def test_the_later_shape_lies_on_top_or_the_smaller_one(tmp_path):
    root = write(tmp_path, "a", [shape("tree", box(2, 2, 4, 4)), shape("field", box(0, 0, 8, 8))])
    assert masks(root)[0]["a.png"].max() == 1
    assert masks(root, options="order=area")[0]["a.png"][2:4, 2:4].tolist() == [[2, 2], [2, 2]]


def test_void_and_background_have_their_names(tmp_path):
    shapes = [shape("tree", box(0, 0, 4, 4)), shape("__ignore__", box(6, 6, 8, 8))]
    shapes.append(shape("_background_", box(0, 0, 2, 2)))
    found, source = masks(write(tmp_path, "a", shapes))
    assert source.info.class_names == ("_background_", "tree")
    assert np.bincount(found["a.png"].ravel(), minlength=256)[[0, 1, 255]].tolist() == [124, 12, 4]


def test_directories_are_splits_with_the_classes_of_all(tmp_path):
    write(tmp_path, "train/a", [shape("tree", box(0, 0, 4, 4))])
    write(tmp_path, "valid/a", [shape("bush", box(0, 0, 4, 4))])
    (found, train), (other, val) = masks(tmp_path, "train"), masks(tmp_path, "val")
    assert train.info.class_names == val.info.class_names == ("background", "bush", "tree")
    assert list(found) == ["train/a.png"] and list(other) == ["valid/a.png"]
    with pytest.raises(ValueError, match=r"No split 'test' .*\['train', 'val'\]"):
        data.load("labelme", "test", tmp_path)


def test_directories_have_splits_among_their_words(tmp_path):
    write(tmp_path, "train_images/a", [shape("tree", box(0, 0, 4, 4))])
    write(tmp_path, "images_val2/b", [shape("bush", box(0, 0, 4, 4))])
    assert list(masks(tmp_path, "train")[0]) == ["train_images/a.png"]
    assert list(masks(tmp_path, "val")[0]) == ["images_val2/b.png"]


def test_without_directories_splits_are_made_and_said(tmp_path):
    for number in range(10):
        write(tmp_path, f"shot{number}", [shape("tree", box(0, 0, 4, 4))])
    found, source = masks(tmp_path, "val")
    assert list(found) == ["shot4.png", "shot9.png"] and any("no splits" in note for note in source.notes)


def test_annotations_may_lie_apart_from_their_images(tmp_path):
    write(tmp_path, "a", [shape("tree", box(0, 0, 4, 4))], imagePath="..\\pictures\\a.png")
    for kind, suffix in (("pictures", "png"), ("annotations", "json")):
        (tmp_path / kind).mkdir()
        (tmp_path / f"a.{suffix}").rename(tmp_path / kind / f"a.{suffix}")
    assert list(masks(tmp_path)[0]) == ["pictures/a.png"]


def test_images_without_a_file_are_left_out_or_background(tmp_path):
    root = write(tmp_path, "a", [shape("tree", box(0, 0, 4, 4))])
    Image.new("RGB", SIZE[::-1]).save(root / "b.png")
    found, source = masks(root)
    assert list(found) == ["a.png"] and any("1 images have no annotation" in note for note in source.notes)
    assert not masks(root, options="unannotated=background")[0]["b.png"].any()


def test_names_that_differ_in_capitals_are_said(tmp_path):
    source = masks(write(tmp_path, "a", [shape("tree", box(0, 0, 4, 4)), shape("Tree", box(5, 5, 8, 8))]))[1]
    assert any("only in capitals: Tree, tree" in note for note in source.notes)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (shape("tree", [[1, 1], [2, 2]]), "an outline of 2 points"),
        (shape("tree", []), "an outline of 0 points"),
        (shape("tree", box(50, 50, 60, 60)), "lies outside the image of 10×14"),
        (shape("tree", [[0, 0], [2, 2]], "mask", mask="no base64"), "contains a mask that cannot be read"),
        (
            shape("tree", [[12, 9], [15, 11]], "mask", mask=png_of(np.ones((3, 3), np.uint8))),
            "leaves the image",
        ),
    ],
)
def test_what_is_no_outline_is_named(tmp_path, bad, words):
    source = data.load("labelme", "all", write(tmp_path, "a", [shape("tree", box(0, 0, 2, 2)), bad]))
    with pytest.raises(ValueError, match=rf"Shape 1 of .*a\.json'.*{words}"):
        source[0]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([{"label": "tree"}], "Shape 0 of .* cannot be read: KeyError 'points'"),
        ([shape("tree", [[1, 2, 3]])], "Shape 0 of .* cannot be read"),
        (["tree"], "Shape 0 of .* cannot be read"),
    ],
)
def test_damaged_shapes_are_refused_at_once(tmp_path, shapes, words):
    with pytest.raises(ValueError, match=words):
        data.load("labelme", "all", write(tmp_path, "a", shapes))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="No JSON file of LabelMe"):
        data.load("labelme", "all", tmp_path)
    root = write(tmp_path, "a", [shape("tree", box(0, 0, 2, 2))])
    (root / "settings.json").write_text('{"theme": "dark"}')  # of another program
    assert list(masks(root)[0]) == ["a.png"]
    (root / "b.json").write_text("{")
    with pytest.raises(ValueError, match=r"b\.json' cannot be read"):
        data.load("labelme", "all", root)
    (root / "b.json").unlink()
    (root / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"No image 'a\.png'"):
        data.load("labelme", "all", root)


def test_an_edited_shape_is_another_fingerprint(tmp_path):
    def fingerprint(right):
        for name, edge in (("a", 4), ("b", right), ("c", 4)):
            write(tmp_path, name, [shape("tree", box(0, 0, edge, 4))])
        return data.load("labelme", "all", tmp_path).fingerprint()

    assert fingerprint(7) == fingerprint(7) != fingerprint(8)
