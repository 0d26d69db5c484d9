"""Exports of YOLO, CVAT, Roboflow and Label Studio, as small as they come."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data

HEIGHT, WIDTH = 8, 12


def picture(path, color=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), color).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def masks(spec, root, split="all"):
    source = data.load(spec, split, root)
    return {name: mask for name, (_, mask) in zip(source.names, source, strict=True)}, source


def drawn(*boxes, rest=0):
    mask = np.full((HEIGHT, WIDTH), rest)
    for label, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = label
    return mask


# YOLO


def line(label, left, top, right, bottom):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return " ".join([str(label), *(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners)])


def yolo(root, files, names="names: [kerb, tree]"):
    for name, content in files.items():
        picture(root / "images" / f"{name}.png")
        if content is not None:
            text(root / "labels" / f"{name}.txt", content)
    if names:
        text(root / "data.yaml", f"path: ../somewhere\ntrain: images/train\n{names}\n")
    return root


def test_yolo_outlines_are_shares_of_the_image(tmp_path):
    files = {
        "train/a": f"{line(1, 0, 0, 6, 4)}\n{line(0, 2, 1, 4, 3)}\n",
        "train/b": None,
        "val/c": line(0, 1, 1, 9, 7),
    }
    root = yolo(tmp_path, files, "names:\n  0: kerb\n  1: tree")
    found, source = masks("yolo", root, "train")
    assert source.info.class_names == ("background", "kerb", "tree")
    np.testing.assert_array_equal(found["images/train/a.png"], drawn((2, 0, 0, 6, 4), (1, 2, 1, 4, 3)))
    assert not found["images/train/b.png"].any() and any("1 images have no" in note for note in source.notes)
    assert list(masks("yolo", root, "val")[0]) == ["images/val/c.png"]
    assert list(masks("yolo(unannotated=leave_out)", root, "train")[0]) == ["images/train/a.png"]
    with pytest.raises(ValueError, match=r"No split 'test' .*\['train', 'val'\]"):
        data.load("yolo", "test", root)


@pytest.mark.parametrize(
    ("train", "val"),
    [("train2017", "val2017"), ("Train_Images", "valid_images"), ("train", "train_and_test/val")],
)
def test_yolo_splits_are_words_in_names_of_directories(tmp_path, train, val):
    root = yolo(tmp_path, {f"{train}/a": line(1, 0, 0, 6, 4), f"{val}/b": line(0, 1, 1, 9, 7)})
    found, source = masks("yolo", root, "train")
    assert list(found) == [f"images/{train}/a.png"] and source.info.class_names[1:] == ("kerb", "tree")
    assert list(masks("yolo", root, "val")[0]) == [f"images/{val}/b.png"]
    with pytest.raises(ValueError, match=r"No split 'fold' .*'train', 'val'\]"):
        data.load("yolo", "fold", root)


def test_an_edited_yolo_outline_is_another_fingerprint(tmp_path):
    def fingerprint(right):
        files = {name: line(1, 0, 0, edge, 4) for name, edge in (("a", 3), ("b", right), ("c", 3))}
        return data.load("yolo", "all", yolo(tmp_path, files)).fingerprint()

    assert fingerprint(6) == fingerprint(6) != fingerprint(9)


def test_yolo_without_splits_and_with_a_list_of_classes(tmp_path):
    root = yolo(tmp_path, {f"a{n}": line(1, 0, 0, 6, 4) for n in range(5)}, names=None)
    with pytest.raises(FileNotFoundError, match=r"data\.yaml with 'names', or a classes\.txt"):
        data.load("yolo", "train", root)
    text(root / "classes.txt", "kerb\ntree\n")
    found, source = masks("yolo(unlabelled=void)", root, "val")
    np.testing.assert_array_equal(found["images/a4.png"], drawn((1, 0, 0, 6, 4), rest=255))
    assert any("no splits" in note for note in source.notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "has no outline, perhaps only a box"),
        ("0 1.1 0.1 1.3 0.2 1.2 0.4", "lies outside the image"),
    ],
)
def test_yolo_boxes_and_outlines_outside_are_named_when_read(tmp_path, content, words):
    source = data.load("yolo", "all", yolo(tmp_path, {"a": content}))
    with pytest.raises(ValueError, match=rf"Line 1 of .*a\.txt'.*{words}"):
        source[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("2 0 0 1 1 1 0", "is of class 2"),
        ("0.5 0 0 1 1 1 0", "is of class 0.5"),
        ("0 0 0 1 1 1", "has 5 coordinates"),
        ("0 0 0 110 70 110 0", "has the coordinate 110.*divide pixels"),
        ("tree 0 0 1 1", "all numbers"),
    ],
)
def test_damaged_yolo_files_are_refused_at_once(tmp_path, content, words):
    with pytest.raises(ValueError, match=rf"Line 1 of .*a\.txt'.*{words}"):
        data.load("yolo", "all", yolo(tmp_path, {"a": content}))


def test_yolo_yaml(tmp_path, monkeypatch):
    root = yolo(tmp_path, {"a": line(1, 0, 0, 6, 4)}, "names: 7")
    with pytest.raises(ValueError, match=r"data\.yaml' has the names 7"):
        data.load("yolo", "all", root)
    text(root / "data.yaml", "names: [")
    with pytest.raises(ValueError, match=r"data\.yaml' cannot be read"):
        data.load("yolo", "all", root)
    text(root / "data.yaml", "names: !!python/object/apply:os.system ['true']")
    with pytest.raises(ValueError, match=r"data\.yaml' cannot be read"):
        data.load("yolo", "all", root)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"tfsegkd\[annotations\]"):
        data.load("yolo", "all", root)


# CVAT

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nkerb:250,50,83::\ntree:51,221,255::\n"
COLORS = np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], np.uint8)


def cvat(root, names, labelmap=LABELMAP, lists=("default",)):
    for name in names:
        picture(root / "JPEGImages" / f"{name}.png")
        path = root / "SegmentationClass" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(COLORS[drawn((1, 0, 0, 6, 4), (2, 2, 1, 4, 3))]).save(path)
    for listing in lists:
        text(root / "ImageSets" / "Segmentation" / f"{listing}.txt", "".join(f"{name}\n" for name in names))
    text(root / "labelmap.txt", labelmap)
    return root


def test_cvat_masks_are_read_by_their_labelmap(tmp_path):
    root = cvat(tmp_path, [f"sub/a{n}" for n in range(5)])
    found, source = masks("cvat", root, "val")
    assert source.info.class_names == ("background", "kerb", "tree")
    assert source.info.palette == tuple(map(tuple, COLORS.tolist()))
    np.testing.assert_array_equal(found["JPEGImages/sub/a4.png"], drawn((1, 0, 0, 6, 4), (2, 2, 1, 4, 3)))
    assert any("no splits" in note for note in source.notes)
    found, source = masks("cvat(unlabelled=void)", root)
    assert source.info.class_names == ("kerb", "tree")
    np.testing.assert_array_equal(
        found["JPEGImages/sub/a0.png"], drawn((0, 0, 0, 6, 4), (1, 2, 1, 4, 3), rest=255)
    )
    found, source = masks("cvat(classes=['tree'])", root)
    np.testing.assert_array_equal(found["JPEGImages/sub/a0.png"], drawn((1, 2, 1, 4, 3)))


def test_cvat_lists_are_splits(tmp_path):
    root = cvat(tmp_path, ["a"], lists=["train"])
    cvat(tmp_path, ["b"], lists=["Validation"])
    assert list(masks("cvat", root, "train")[0]) == ["JPEGImages/a.png"]
    assert list(masks("cvat", root, "val")[0]) == ["JPEGImages/b.png"]
    with pytest.raises(ValueError, match=r"No split 'test' .*\['Validation', 'train'\]"):
        data.load("cvat", "test", root)


@pytest.mark.parametrize(
    ("labelmap", "words"),
    [
        ("background:0,0\n", "Line 1 of .* Expected 'label:red,green,blue"),
        ("background:0,0,0::\nkerb:0,0,0::\n", "Line 2 of .* is repeated"),
        ("background:0,0,0::\nkerb:300,0,0::\n", "Line 2 of"),
    ],
)
def test_damaged_labelmaps_are_refused(tmp_path, labelmap, words):
    with pytest.raises(ValueError, match=words):
        data.load("cvat", "all", cvat(tmp_path, ["a"], labelmap))


def test_cvat_without_images_or_masks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"labelmap\.txt"):
        data.load("cvat", "all", tmp_path)
    root = cvat(tmp_path, ["a", "b"])
    (root / "JPEGImages" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 masks .* have no image.*\['b'\].*Save images"):
        data.load("cvat", "all", root)
    (root / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 names of .*default\.txt' have no mask.*\['b'\]"):
        data.load("cvat", "all", root)


# Roboflow


def roboflow(root, splits):
    for split, (names, classes) in splits.items():
        for name in names:
            picture(root / split / f"{name}.png")
            mask = drawn((1, 0, 0, 6, 4), (2, 2, 1, 4, 3)).astype(np.uint8)
            Image.fromarray(mask).save(root / split / f"{name}_mask.png")
        text(root / split / "_classes.csv", "Pixel Value, Class\n" + classes)
    return root


def test_roboflow_masks_are_read_by_the_table_of_their_split(tmp_path):
    train = (["a_jpg.rf.123"], " 0, background\n 1, kerb\n 2, tree\n")
    valid = (["b_jpg.rf.456"], "0, background\n1, tree\n2, kerb\n")  # other values
    root = roboflow(tmp_path, {"train": train, "valid": valid})
    found, source = masks("roboflow", root, "train")
    assert source.info.class_names == ("background", "kerb", "tree")
    np.testing.assert_array_equal(found["a_jpg.rf.123.png"], drawn((1, 0, 0, 6, 4), (2, 2, 1, 4, 3)))
    found, source = masks("roboflow", root, "val")
    np.testing.assert_array_equal(found["b_jpg.rf.456.png"], drawn((2, 0, 0, 6, 4), (1, 2, 1, 4, 3)))
    assert source.info.class_names == ("background", "kerb", "tree")
    found, source = masks("roboflow(unlabelled=void)", root, "train")
    np.testing.assert_array_equal(
        found["a_jpg.rf.123.png"], drawn((0, 0, 0, 6, 4), (1, 2, 1, 4, 3), rest=255)
    )
    with pytest.raises(ValueError, match=r"No split 'test' .*\['train', 'valid'\]"):
        data.load("roboflow", "test", root)


def test_roboflow_faults(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No _classes\.csv"):
        data.load("roboflow", "train", tmp_path)
    root = roboflow(tmp_path, {"train": (["a"], "0, background\n1, kerb\n")})
    source = data.load("roboflow", "train", root)
    with pytest.raises(ValueError, match=r"a_mask\.png' has label 2 .*_classes\.csv"):
        source[0]
    (root / "train" / "a_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no counterpart among the masks.*\['a'\]"):
        data.load("roboflow", "train", root)
    text(root / "train" / "_classes.csv", "Pixel Value, Class\nkerb, 0\n")
    with pytest.raises(ValueError, match=r"Line 2 of .*_classes\.csv' is 'kerb, 0'"):
        data.load("roboflow", "train", root)


# Label Studio


def brush(root, name, *box):
    mask = 255 * drawn((1, *box)).astype(np.uint8)
    (root / "export").mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(root / "export" / f"{name}.png")


def label_studio(root, tasks, is_short=False):
    picture(root / "images" / "pond 1.png")
    picture(root / "images" / "0a1b2c3d-quay.png")
    content = [
        {"id": number, "image": image, "cls-tag": []}
        if is_short
        else {
            "id": number,
            "data": {"image": image},
            "annotations": [{"id": 5, "result": [{"from_name": "cls-tag", "value": {"brushlabels": ["x"]}}]}],
        }
        for number, image in tasks.items()
    ]
    text(root / "project.json", json.dumps(content))
    brush(root, "task-1-annotation-5-by-ann@x.org-cls-tag-Kerb-0", 0, 0, 6, 4)
    brush(root, "task-1-annotation-5-by-ann@x.org-cls-tag-Old-tree-0", 2, 1, 4, 3)
    brush(root, "task-2-annotation-3-by-1-cls-tag-Kerb-0", 0, 0, 2, 2)
    brush(root, "task-2-annotation-8-by-1-cls-tag-Kerb-0", 0, 0, 5, 5)
    brush(root, "task-2-annotation-8-by-1-cls-tag-Kerb-1", 8, 0, 9, 1)
    return root


TASKS = {
    1: "/data/upload/1/deadbeef-pond%201.png",
    2: "/data/local-files/?d=C%3A%5Cphotos%5C0a1b2c3d-quay.png",
    3: "/data/upload/1/none.png",
}


@pytest.mark.parametrize("is_short", [False, True])
def test_label_studio_puts_the_labels_of_a_task_together(tmp_path, is_short):
    root = label_studio(tmp_path, TASKS, is_short)
    found, source = masks("label_studio", root)
    assert source.info.class_names == ("background", "Kerb", "Old-tree")
    np.testing.assert_array_equal(found["images/pond 1.png"], drawn((1, 0, 0, 6, 4), (2, 2, 1, 4, 3)))
    # Of two annotations of a task the later one counts.
    np.testing.assert_array_equal(found["images/0a1b2c3d-quay.png"], drawn((1, 0, 0, 5, 5), (1, 8, 0, 9, 1)))
    for words in ("1 tasks were annotated more than once", "1 images have no annotation", "no splits"):
        assert any(words in note for note in source.notes)
    assert masks("label_studio(classes=['Old-tree'])", root)[0]["images/pond 1.png"].sum() == 4


def test_label_studio_faults(tmp_path):
    with pytest.raises(FileNotFoundError, match="No JSON export"):
        data.load("label_studio", "all", tmp_path)
    root = label_studio(tmp_path, {1: TASKS[1]})
    with pytest.raises(ValueError, match=r"1 tasks of the PNGs .* not in the JSON export, the first: \[2\]"):
        data.load("label_studio", "all", root)
    label_studio(root, TASKS)
    Image.new("L", (5, 5)).save(root / "export" / "task-1-annotation-5-by-1-cls-tag-Kerb-7.png")
    with pytest.raises(ValueError, match=r"pond 1\.png' is 8×12 but was annotated at 5×5"):
        masks("label_studio", root)
    (root / "images" / "pond 1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"No image .*pond 1\.png"):
        data.load("label_studio", "all", root)
    (root / "project.json").write_text("[")
    with pytest.raises(ValueError, match=r"project\.json' cannot be read"):
        data.load("label_studio", "all", root)
    (root / "project.json").write_text(json.dumps([{"id": 1, "image": TASKS[1]}]))
    for path in (root / "export").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="No PNG of a label"):
        data.load("label_studio", "all", root)


# Which tool it was


@pytest.mark.parametrize(
    ("tool", "write"),
    [
        ("yolo", lambda root: yolo(root, {"a": line(1, 0, 0, 6, 4)})),
        ("cvat", lambda root: cvat(root, ["a"])),
        ("roboflow", lambda root: roboflow(root, {"train": (["a"], "0, background\n")})),
        ("label_studio", lambda root: label_studio(root, TASKS)),
        ("coco", lambda root: text(root / "x" / "a.json", '{"info": {}, "categories": [{"id": 1}]}')),
        ("labelme", lambda root: text(root / "a.json", '{"version": "5.5.0", "shapes": []}')),
    ],
)
def test_a_folder_that_a_tool_has_exported_is_recognized(tmp_path, tool, write):
    write(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"dataset={tool}"):
        data.load("folder", "train", tmp_path)


def test_a_folder_of_nothing_is_no_export(tmp_path):
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "settings.json", "{}")
    with pytest.raises(FileNotFoundError, match=r"No .*labels\.txt'\. Expected the name of a class"):
        data.load("folder", "train", tmp_path)
