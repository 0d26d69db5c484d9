"""Text files beside data and networks: lists, labels, colors, tables."""

from pathlib import Path

import numpy as np
import pytest
from fuzzing import edited, fuzz, ours
from hypothesis import strategies as st
from PIL import Image

from tfsegkd import data
from tfsegkd.data.labels import read_colors, read_labels
from tfsegkd.distillation.teachers.class_map import read_class_map
from tfsegkd.runtime import read_times

PATHS = """
train/a.png trainannot/a.png SegNet/CamVid/train/a.png ../../etc/passwd /etc/passwd .. a.png a / .
train/../../x.png train\\a.png ~/a.png C:\\a.png train/a\0.png JPEGImages/a.jpg SegmentationClassAug/a.png
"""
paths = st.one_of(
    st.sampled_from(PATHS.split()),
    st.sampled_from(("b c", "x" * 300, "train/" + "y" * 300, "a/" * 80)),
    st.text(max_size=10),
)
listed = st.lists(paths, min_size=1, max_size=3).map(" ".join)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    return path


def read_all(source, box):
    """Every file that a source would read lies below the directory."""
    for pair in source.pairs:
        assert all(path.resolve().is_relative_to(box) for path in pair), pair


@fuzz(edited(listed), 900)
def test_lists_of_camvid(content, box):
    """<split>.txt."""
    for name in ("train/a.png", "trainannot/a.png"):
        picture(box / name)
    (box / "train.txt").write_bytes(content)
    with ours():
        read_all(data.load("camvid", "train", box), box)


@fuzz(edited(listed), 700)
def test_lists_of_voc(content, box):
    """ImageSets/Segmentation/<split>.txt."""
    for name in ("JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationClassAug/a.png"):
        picture(box / name)
    lists = box / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    for split in ("train", "trainaug"):
        (lists / f"{split}.txt").write_bytes(content)
        with ours():
            read_all(data.load("voc", split, box), box)


labels = st.one_of(
    st.sampled_from(("road", "sky", "void", "Void", "", "road ", "é", "=1+1", "<b>")), st.text(max_size=6)
)
color_lines = st.builds(
    lambda numbers, mark, name: mark.join([*numbers, name]),
    st.lists(st.integers(-1, 300).map(str) | st.sampled_from(("٣", "²", "1e2", "")), max_size=4),
    st.sampled_from((" ", ",", "\t", ";", ", ")),
    labels,
)


@fuzz(st.tuples(edited(labels), edited(color_lines | st.sampled_from(("1 2 3 road", "4 5 6 sky")))), 900)
def test_labels_and_colors(case, box):
    """labels.txt and colors.txt of a folder."""
    for name, content in zip(("labels.txt", "colors.txt"), case, strict=True):
        (box / name).write_bytes(content)
    for kind in ("images", "masks"):
        picture(box / kind / "a.png")
    with ours():
        read_labels(box / "labels.txt")
    with ours():
        read_colors(box / "colors.txt", ("road", "sky"))
    with ours():
        read_all(data.load("folder", "all", box), box)


mapped = st.builds(
    lambda name, mark, given: f"{name}{mark}{given}",
    st.sampled_from(("road", "sky", "#", "")) | st.text(max_size=4),
    st.sampled_from((":", ": ", "", "::", " # ")),
    st.lists(st.sampled_from(("0", "1", "2", "-1", "99", "a", "b", "٣", "²", "9" * 5000)), max_size=3).map(
        ",".join
    ),
)
json_texts = st.one_of(
    st.sampled_from(
        (
            b'{"road": 0, "sky": [1, 2]}',
            b'{"road": "a", "sky": "b"}',
            b'{"road": NaN, "sky": 1}',
            b'{"road": {}, "sky": [[1]]}',
            b'{"road": [[]], "sky": [{}]}',
            b'{"road": 0, "sky": true}',
            b"[" * 5000,
            b"3",
        )
    ),
    st.binary(max_size=20),
)


@fuzz(st.tuples(edited(mapped) | json_texts, st.sampled_from(("a.txt", "a.json")), edited(labels)), 900)
def test_class_maps(case, box):
    """--class_map and --teacher_classes."""
    content, name, classes = case
    (box / name).write_bytes(content)
    (box / "classes.txt").write_bytes(classes)
    for teacher_classes in (None, ["a", "b", "c"], box / "classes.txt"):
        with ours():
            channels = read_class_map(box / name, ("road", "sky"), 3, teacher_classes)
            assert sorted({channel for group in channels for channel in group} - {0, 1, 2}) == []


rows = st.builds(
    lambda cells, mark: mark.join(cells),
    st.lists(
        st.sampled_from(("layer", "ms", "conv", "1.5", "nan", "inf", "-1", '"', '"a\nb"', "1e999", "\0"))
        | st.text(max_size=5),
        max_size=4,
    ),
    st.sampled_from((",", ";", "\t")),
)


@fuzz(edited(rows | st.just("layer,ms")), 900)
def test_latency_tables(content, box):
    """--latency_table."""
    (box / "table.csv").write_bytes(content)
    with ours():
        rows = read_times(box / "table.csv", "layer")
        assert all(0 <= ms < float("inf") for _, ms, _ in rows)


def test_a_list_cannot_be_a_huge_line(tmp_path):
    """A line of a million words is refused at once, not cut in a million ways."""
    picture(tmp_path / "train" / "a.png")
    (tmp_path / "train.txt").write_text("a " * 200_000)
    with pytest.raises(ValueError, match="Line 1 of"):
        data.load("camvid", "train", tmp_path)
