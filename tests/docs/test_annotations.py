"""The README's command for one's own images, on what labelling tools export."""

import json
import shlex

import numpy as np
import pytest
from command_lines import Shell
from pages import ROOT
from PIL import Image
from pycocotools import mask as coco_masks

from tfsegkd import data

SIZE = (32, 48)
# Networks of few layers, since tracing takes most of the time.
TOY = (
    "--input_size=32x48",
    "--teacher=unet(width=8)",
    "--student=unet(width=4)",
    "--stages=teacher,distill,quantize,export",
    "--teacher_epochs=1",
    "--epochs=1",
    "--qat_epochs=1",
    "--preflight=off",
)
NAMES = ("background", "door", "wall")


def scene(number):
    """A frame of noise with a wall and a door in it, and their boxes: left, top, right, bottom."""
    random = np.random.default_rng(number)
    frame = random.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    left, top = int(random.integers(2, 12)), int(random.integers(2, 8))
    boxes = {"wall": (left, top, left + 30, top + 22), "door": (left + 8, top + 6, left + 16, top + 22)}
    for name, (x0, y0, x1, y1) in boxes.items():
        frame[y0:y1, x0:x1, NAMES.index(name)] += 150
    return Image.fromarray(frame), boxes


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def coco(root):
    """Walls as polygons, doors as compressed runs."""
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for number in range(20):
        frame, boxes = scene(number)
        frame.save(root / "images" / f"{number:02}.png")
        images.append({"id": number, "file_name": f"{number:02}.png", "height": SIZE[0], "width": SIZE[1]})
        left, top, right, bottom = boxes["door"]
        door = np.zeros(SIZE, np.uint8)
        door[top:bottom, left:right] = 1
        runs = coco_masks.encode(np.asfortranarray(door))
        outlines = {
            7: {"size": list(SIZE), "counts": runs["counts"].decode()},
            2: [np.ravel(corners(*boxes["wall"])).tolist()],
        }
        annotations += [
            {
                "id": len(annotations) + place,
                "image_id": number,
                "category_id": label,
                "segmentation": outline,
            }
            for place, (label, outline) in enumerate(outlines.items())
        ]
    categories = [{"id": 2, "name": "wall"}, {"id": 7, "name": "door"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances_default.json").write_text(json.dumps(content))


def labelme(root):
    root.mkdir(parents=True)
    for number in range(20):
        frame, boxes = scene(number)
        frame.save(root / f"{number:02}.png")
        shapes = [
            {"label": name, "shape_type": "polygon", "points": corners(*box)} for name, box in boxes.items()
        ]
        content = {"shapes": shapes, "imagePath": f"{number:02}.png", "imageData": None}
        content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (root / f"{number:02}.json").write_text(json.dumps(content))


def lines(tool):
    """The README's commands with a tool's export."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [
        shlex.split(line)[1:] for line in text if line.startswith("python ") and f"--dataset={tool}" in line
    ]


@pytest.mark.parametrize(("tool", "write"), [("coco", coco), ("labelme", labelme)])
def test_what_the_readme_trains_on_is_what_was_outlined(tmp_path, tool, write):
    (train,) = (line for line in lines(tool) if line[0] == "tools/train.py")
    directory = next(word for word in train if word.startswith("--data_dir=")).partition("=")[2]
    write(tmp_path / directory)
    found = {
        split: data.dataset_statistics(data.load(tool, split, tmp_path / directory))
        for split in ("train", "val")
    }
    assert [len(each.source) for each in found.values()] == [16, 4]
    names = found["train"].source.info.class_names
    assert sorted(names) == sorted(NAMES)
    # Each door hides as much of its wall.
    pixels = dict(zip(names, found["train"].pixels, strict=False))
    assert (pixels["door"], pixels["wall"]) == (16 * 8 * 16, 16 * (30 * 22 - 8 * 16))
    image, mask = found["val"].source[0]
    np.testing.assert_array_equal(mask == names.index("door"), image[..., 1] >= 150)
    np.testing.assert_array_equal(mask != names.index("background"), image[..., 2] >= 150)


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "write"), [("coco", coco), ("labelme", labelme)])
def test_the_readmes_own_folder_from_a_tools_export(tmp_path, tool, write):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shell = Shell(tmp_path)
    try:
        for line in lines(tool):
            directory = next(word for word in line if word.startswith("--data_dir=")).partition("=")[2]
            if not (tmp_path / directory).exists():
                write(tmp_path / directory)
            name = line[0].removeprefix("tools/").removesuffix(".py")
            result = shell(name, *line[1:], *(TOY if name == "train" else ()))
            assert result.code == 0, result.err
            assert "3 classes: background" in result.out and "There are no splits" in result.out
            if name == "train":
                out = tmp_path / next(w for w in line if w.startswith("--output_dir=")).partition("=")[2]
                assert sorted((out / "labels.txt").read_text().split()) == sorted(NAMES)
                assert (out / "model_int8.tflite").stat().st_size > 1e4
                stages = json.loads((out / "report.json").read_text())["stages"]
                assert [row["name"] for row in stages][-1] == "int8"
            else:
                assert (tmp_path / "inspection" / "train.png").stat().st_size > 1e3
    finally:
        shell.close()
