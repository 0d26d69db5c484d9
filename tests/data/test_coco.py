"""COCO JSON, in the layouts and with the faults that its tools give it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from tfsegkd import data

HEIGHT, WIDTH = 8, 12
CATEGORIES = [{"id": 3, "name": "pond"}, {"id": 9, "name": "boat"}]  # ids with holes


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(segmentation, category=3, image=1, number=1):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}


def write(root, annotations, images=("a.png",), path="result.json", categories=CATEGORIES, entries=None):
    """A COCO file, and its images beside `images/` where they are not there yet."""
    listed = []
    for number, name in enumerate(images, 1):
        place = root / name if "/" in name else root / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(place)
        listed.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    listed = listed if entries is None else entries
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(content))
    return root


def masks(root, split="all", options=""):
    source = data.load(f"coco({options})", split, root)
    return {name: mask for name, (_, mask) in zip(source.names, source, strict=True)}, source


def drawn(*boxes, rest=0):
    mask = np.full((HEIGHT, WIDTH), rest)
    for label, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = label
    return mask


def test_polygons_and_both_kinds_of_runs_are_one_mask(tmp_path):
    pixels = drawn((1, 2, 1, 9, 6)).astype(np.uint8)
    compressed = coco_masks.encode(np.asfortranarray(pixels))
    compressed = {"counts": compressed["counts"].decode(), "size": [HEIGHT, WIDTH]}
    runs = [2 * HEIGHT + 1, *[5, 3] * 6, 5, 2 + 3 * HEIGHT]
    plain = {"counts": runs, "size": [HEIGHT, WIDTH]}
    outlines = [box(2, 1, 9, 6), compressed, plain]
    annotations = [annotation(outline, image=n, number=n) for n, outline in enumerate(outlines, 1)]
    found, source = masks(write(tmp_path, annotations, ("a.png", "b.png", "c.png")))
    assert source.info.class_names == ("background", "pond", "boat")
    for mask in found.values():
        np.testing.assert_array_equal(mask, pixels)


def test_several_polygons_are_one_thing_and_the_smaller_lies_on_top(tmp_path):
    annotations = [
        annotation(box(5, 2, 7, 4), category=9, number=1),  # small, and first in the file
        annotation([*box(0, 0, 8, 6), *box(10, 0, 12, 2)], number=2),
    ]
    root = write(tmp_path, annotations)
    expected = drawn((1, 0, 0, 8, 6), (1, 10, 0, 12, 2), (2, 5, 2, 7, 4))
    np.testing.assert_array_equal(masks(root)[0]["images/a.png"], expected)
    expected = drawn((2, 5, 2, 7, 4), (1, 0, 0, 8, 6), (1, 10, 0, 12, 2))
    np.testing.assert_array_equal(masks(root, options="order=file")[0]["images/a.png"], expected)


def test_what_nobody_annotated_is_background_or_void_or_a_class_of_that_name(tmp_path):
    annotations = [annotation(box(0, 0, 4, 4)), annotation(box(6, 0, 8, 2), 9, number=2)]
    root = write(tmp_path, annotations)
    found, source = masks(root, options="unlabelled=void")
    assert source.info.class_names == ("pond", "boat")
    np.testing.assert_array_equal(found["images/a.png"], drawn((0, 0, 0, 4, 4), (1, 6, 0, 8, 2), rest=255))
    categories = [{"id": 1, "name": "pond"}, {"id": 2, "name": "Background"}, {"id": 5, "name": "void"}]
    annotations = [annotation(box(0, 0, 4, 4), 1), annotation(box(6, 0, 8, 2), 5, number=2)]
    found, source = masks(write(tmp_path / "own", annotations, categories=categories))
    assert source.info.class_names == ("Background", "pond")
    np.testing.assert_array_equal(found["images/a.png"], drawn((1, 0, 0, 4, 4), (255, 6, 0, 8, 2)))


def test_classes_are_chosen_by_name(tmp_path):
    annotations = [annotation(box(0, 0, 4, 4)), annotation(box(6, 0, 8, 2), 9, number=2)]
    root = write(tmp_path, annotations)
    found, source = masks(root, options="classes=['boat']")
    assert source.info.class_names == ("background", "boat")
    np.testing.assert_array_equal(found["images/a.png"], drawn((1, 6, 0, 8, 2)))
    assert any("Not used: pond (1)" in note for note in source.notes)
    (root / "labels.txt").write_text("boat\npond\nbackground\n")
    found, source = masks(root)
    assert source.info.class_names == ("boat", "pond", "background")
    np.testing.assert_array_equal(found["images/a.png"], drawn((1, 0, 0, 4, 4), (0, 6, 0, 8, 2), rest=2))


def test_splits_of_files_have_the_same_classes(tmp_path):
    train, val = [annotation(box(0, 0, 4, 4))], [annotation(box(0, 0, 4, 4), category=1)]
    write(tmp_path, train, ["train2017/a.png"], "annotations/instances_train2017.json")
    others = [{"id": 1, "name": "boat"}, {"id": 2, "name": "gull"}]  # other ids, and one more
    write(tmp_path, val, ["val2017/a.png"], "annotations/instances_val2017.json", others)
    write(tmp_path, [], ["train2017/a.png"], "annotations/captions_train2017.json")
    (found, train), (other, val) = masks(tmp_path, "train"), masks(tmp_path, "val")
    assert train.info.class_names == val.info.class_names == ("background", "pond", "boat", "gull")
    assert found["train2017/a.png"].max() == 1 and other["val2017/a.png"].max() == 2
    with pytest.raises(ValueError, match=r"No split 'test' .*\['train', 'val'\]"):
        data.load("coco", "test", tmp_path)


def test_a_file_in_the_directory_of_each_split(tmp_path):
    group = [
        {"id": 0, "name": "ponds", "supercategory": "none"},
        {"id": 1, "name": "pond", "supercategory": "ponds"},
    ]
    for split in ("train", "valid"):
        write(tmp_path / split, [annotation(box(0, 0, 4, 4), 1)], ["x.png"], "_annotations.coco.json", group)
        (tmp_path / split / "images" / "x.png").rename(tmp_path / split / "x.png")
    found, source = masks(tmp_path, "val")
    assert list(found) == ["valid/x.png"] and source.info.class_names == ("background", "pond")


def test_without_splits_they_are_made_and_said(tmp_path):
    names = [f"frame_{n}.png" for n in range(11)]
    annotations = [annotation(box(0, 0, 4, 4), image=n + 1, number=n) for n in range(11)]
    root = write(tmp_path, annotations, names)
    train, val = (data.load("coco", split, root) for split in ("train", "val"))
    assert val.names == ["images/frame_4.png", "images/frame_9.png"]
    assert len(train) == 9 and any("no splits" in note for note in train.notes)


def test_a_file_may_be_named(tmp_path):
    write(tmp_path, [annotation(box(0, 0, 4, 4))], path="one.json")
    write(tmp_path, [annotation(box(0, 0, 2, 2))], path="two.json")
    with pytest.raises(ValueError, match="No split 'train'"):
        data.load("coco", "train", tmp_path)
    assert masks(tmp_path, options="annotations='two.json'")[0]["images/a.png"].sum() == 4
    with pytest.raises(FileNotFoundError, match=r"three\.json"):
        data.load("coco(annotations='three.json')", "all", tmp_path)
    with pytest.raises(FileNotFoundError, match="outside"):
        (tmp_path.parent / "outside.json").write_text("{}")
        data.load("coco(annotations='../outside.json')", "all", tmp_path)


def test_images_of_one_name_in_two_folders(tmp_path):
    names = ("cam1/a.png", "cam2/a.png")
    annotations = [annotation(box(0, 0, n, n), image=n, number=n) for n in (1, 2)]
    found, _ = masks(write(tmp_path, annotations, names))
    assert {name: mask.sum() for name, mask in found.items()} == {"cam1/a.png": 1, "cam2/a.png": 4}
    # Paths of another machine lead there as well; a bare name does not.
    content = json.loads((tmp_path / "result.json").read_text())
    for image, name in zip(content["images"], (r"C:\photos\cam1\a.png", "/mnt/x/cam2/a.png"), strict=True):
        image["file_name"] = name
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert masks(tmp_path)[0].keys() == found.keys()
    content["images"][0]["file_name"] = "../../a.png"
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"2 images below .*are called '\.\./\.\./a\.png': \['cam1/a\.png'"):
        data.load("coco", "all", tmp_path)


def test_images_without_annotations_are_background_or_left_out(tmp_path):
    root = write(tmp_path, [annotation(box(0, 0, 4, 4))], ("a.png", "b.png"))
    found, source = masks(root)
    assert not found["images/b.png"].any() and any(
        "1 images have no annotation" in note for note in source.notes
    )
    assert list(masks(root, options="unannotated=leave_out")[0]) == ["images/a.png"]


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([], "has no outline, perhaps only a box"),
        ([[1, 1, 5, 5]], "an outline of 2 points"),
        ([[1, 1, 5, 5, 3]], "an outline of 0 points"),
        (box(20, 1, 30, 5), "lies outside the image of 8×12"),
        (box(-9, -9, -1, -1), "lies outside"),
        ({"counts": [5, 5], "size": [HEIGHT, WIDTH]}, "runs do not make up"),
        ({"counts": [WIDTH * HEIGHT], "size": [WIDTH, HEIGHT]}, "mask of 12×8 for an image of 8×12"),
    ],
)
def test_what_is_no_outline_is_refused_when_its_image_is_read(tmp_path, segmentation, words):
    annotations = [annotation(segmentation, number=77), annotation(box(0, 0, 4, 4), image=2)]
    source = data.load("coco", "all", write(tmp_path, annotations, ("a.png", "b.png")))
    with pytest.raises(ValueError, match=rf"Annotation 77 of .*result\.json'.*{words}"):
        source[0]
    found = data.dataset_statistics(source, skip_bad=True)
    assert list(found.bad) == ["images/a.png"] and found.pixels[1] == 16


def test_an_edited_outline_is_another_fingerprint(tmp_path):
    def fingerprint(right):
        outlines = [box(2, 1, 9, 6), box(2, 1, right, 6), box(2, 1, 9, 6)]
        annotations = [annotation(outline, image=n, number=n) for n, outline in enumerate(outlines, 1)]
        write(tmp_path, annotations, ("a.png", "b.png", "c.png"))
        return data.load("coco", "all", tmp_path).fingerprint()

    assert fingerprint(7) == fingerprint(7) != fingerprint(8)


def test_outlines_that_reach_over_the_border_are_cut(tmp_path):
    root = write(tmp_path, [annotation(box(-3, -3, 5, 40))])
    np.testing.assert_array_equal(masks(root)[0]["images/a.png"], drawn((1, 0, 0, 5, HEIGHT)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": [annotation([]), annotation([])]}, "has 2 annotations, and none has an outline"),
        ({"annotations": [annotation(box(0, 0, 4, 4), category=4)]}, "unknown category_id, the first 4"),
        ({"annotations": [annotation(box(0, 0, 4, 4), image=5)]}, "unknown image_id, the first 5"),
        ({"annotations": [{"id": 1}]}, "annotations is {'id': 1}"),
        ({"entries": [{"id": 1}]}, "images is {'id': 1}"),
        ({"entries": []}, "unknown image_id"),
        ({"categories": CATEGORIES * 2}, "two categories have the id 3"),
    ],
)
def test_files_that_contradict_themselves_are_refused_at_once(tmp_path, changes, words):
    root = write(tmp_path, **{"annotations": [annotation(box(0, 0, 4, 4))], **changes})
    with pytest.raises(ValueError, match=rf"result\.json'.*{words}"):
        data.load("coco", "all", root)


def test_files_that_are_damaged_or_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="No COCO JSON below"):
        data.load("coco", "all", tmp_path)
    root = write(tmp_path, [annotation(box(0, 0, 4, 4))])
    whole = (root / "result.json").read_text()
    (root / "result.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"result\.json' cannot be read"):
        data.load("coco", "all", root)
    (root / "result.json").write_text(whole)
    (root / "images" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"No image 'a\.png' below .*0 images"):
        data.load("coco", "all", root)


def test_images_of_another_size_than_was_annotated(tmp_path):
    root = write(tmp_path, [annotation(box(0, 0, 4, 4))])
    Image.new("RGB", (2 * WIDTH, 2 * HEIGHT)).save(root / "images" / "a.png")
    with pytest.raises(ValueError, match=r"is 16×24 but was annotated at 8×12"):
        masks(root)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_photographs_whose_stored_pixels_were_annotated(tmp_path, orientation):
    root = write(tmp_path, [annotation(box(0, 0, 4, 4))], ("a.png", "b.png"))
    for name, turn in (("a.png", orientation), ("b.png", 6)):  # sizes tell of the second one
        picture = Image.new("RGB", (WIDTH, HEIGHT))
        picture.paste((255, 255, 255), (0, 0, 4, 4))
        exif = Image.Exif()
        exif[0x0112] = turn
        picture.save(root / "images" / name, exif=exif)
    source = data.load("coco", "all", root)
    image, mask = source[0]
    np.testing.assert_array_equal(mask == 1, image[..., 0] > 0)
    assert any("2 photographs" in note for note in source.notes)


def test_compressed_runs_name_the_package_that_reads_them(tmp_path, monkeypatch):
    outline = {"counts": "PPYo0", "size": [HEIGHT, WIDTH]}
    root = write(tmp_path, [annotation(outline)])
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r"pip install 'tfsegkd\[annotations\]'"):
        data.load("coco", "all", root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("unlabelled=nothing", "unlabelled of coco"),
        ("order=size", "order of coco"),
        ("classes=boat", "classes of coco must be a list"),
        ("unannotated=no", "unannotated of coco"),
        ("classes=['boat'], unlabelled=void", "Expected 2 to 255"),
    ],
)
def test_options_are_checked(tmp_path, options, words):
    root = write(tmp_path, [annotation(box(0, 0, 4, 4))])
    with pytest.raises((ValueError, TypeError), match=words):
        data.load(f"coco({options})", "all", root)
