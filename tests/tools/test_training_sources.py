"""An epoch of tools/train.py on every kind of data set, and what it says where labels are missing."""

import json

import numpy as np
import pytest
from dataset_trees import SIZE, camvid_32, cityscapes, folder, frame, save, segnet, tfds, voc

from tfsegkd import models
from tfsegkd._keras import keras

SOURCES = {
    "road_scenes(height=32, width=48, num_images=4)": (lambda root: None, "train"),
    "camvid": (segnet, "train"),
    "camvid(layout='32')": (camvid_32, "train"),
    "voc": (voc, "trainaug"),
    "cityscapes": (cityscapes, "train"),
    "folder": (folder, "train"),
    "tfds:tiny_scenes": (tfds, "train"),
}
SMALL = ("--student=unet(width=4)", "--input_size=32x48", "--batch_size=2", "--epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", SOURCES)
def test_an_epoch_on_every_data_set(shell, tmp_path, dataset):
    write, split = SOURCES[dataset]
    root, out = tmp_path / "data", tmp_path / "run"
    root.mkdir()
    write(root)
    where = (f"--dataset={dataset}", f"--data_dir={root}", f"--train_split={split}", f"--output_dir={out}")
    result = shell("train", *where, "--stages=student_alone", *SMALL)
    assert result.code == 0, result.err
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["stages"]] == ["student_alone"]
    assert np.isfinite(report["stages"][0]["mean_iou"])
    if dataset == "folder":
        assert "warning: no pixel of 'nothing' in folder train" in result.out
    if dataset == "tfds:tiny_scenes":
        assert "warning" not in result.out


@pytest.fixture
def frames(tmp_path):
    """A folder of labelled frames, and one of frames alone."""
    folder(tmp_path / "data")
    for number in range(4):
        save(tmp_path / "frames" / f"{number}", frame())
    return tmp_path


@pytest.mark.slow
def test_distilling_on_frames_without_labels(shell, frames):
    image = keras.Input((*SIZE, 3))
    keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(image)).save(frames / "teacher.keras")
    flags = (
        f"--dataset=unlabelled(data_dir={str(frames / 'frames')!r})",
        "--val_dataset=folder",
        f"--data_dir={frames / 'data'}",
        f"--teacher={frames / 'teacher.keras'}",
        "--task_weight=0",
        "--stages=teacher,distill",
        "--preflight=off",
        f"--output_dir={frames / 'run'}",
    )
    result = shell("train", *flags, *SMALL)
    assert result.code == 0, result.err
    report = json.loads((frames / "run" / "report.json").read_text())
    assert set(report["stages"][-1]["iou"]) == {"rest", "thing", "nothing"}


@pytest.mark.slow
def test_frames_of_a_data_set_are_those_of_its_directory(shell, tmp_path):
    segnet(tmp_path)
    image = keras.Input((*SIZE, 3))
    keras.Model(image, keras.layers.Conv2D(11, 1, name="logits")(image)).save(tmp_path / "teacher.keras")
    flags = ("--dataset=camvid", f"--data_dir={tmp_path}", f"--teacher={tmp_path / 'teacher.keras'}")
    flags += ("--stages=teacher,distill", "--preflight=off", "--cache_teacher", "--unlabelled_per_batch=1")
    kernels = []
    for number, frames in enumerate(("camvid", tmp_path / "train")):
        out = tmp_path / f"run_{number}"
        result = shell("train", *flags, *SMALL, f"--unlabelled={frames}", f"--output_dir={out}")
        assert result.code == 0, result.err
        kernels.append(models.load(out / "student.keras").get_weights())
    for ours, theirs in zip(*kernels, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stages=student_alone", "--val_dataset=folder"], ["no labels to train on", "--task_weight=0"]),
        (["--task_weight=0", "--stages=teacher,distill", "--val_dataset=folder"], ["a saved --teacher"]),
        (
            ["--task_weight=0", "--stages=distill"],
            ["unlabelled cannot be used for validation", "--val_dataset=NAME"],
        ),
        (
            [
                "--task_weight=0",
                "--stages=distill,prune",
                "--prune_distill=pixelwise",
                "--val_dataset=folder",
            ],
            ["--importance='taylor' is measured on labelled images", "'l1'"],
        ),
    ],
)
def test_where_labels_are_missing_it_is_said(shell, frames, flags, words):
    where = ("--dataset=unlabelled", f"--data_dir={frames / 'data'}", f"--output_dir={frames / 'run'}")
    result = shell("train", *where, *SMALL, *flags)
    assert result.code == 1
    *_, line = result.err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--teacher_dataset=road_scenes"],
            ["--teacher_dataset=road_scenes has", "'rest'", "same classes"],
        ),
        (["--teacher_dataset=folder", "--teacher=mine.keras"], ["needs a teacher to train", "mine.keras"]),
        (["--teacher_dataset=folder", "--stages=distill"], ["needs a teacher to train", "--stages=distill"]),
        (["--teacher_dataset=unlabelled"], ["--teacher_dataset=unlabelled", "no labels to train on"]),
    ],
)
def test_images_that_teach_no_teacher_are_refused(shell, frames, flags, words):
    where = ("--dataset=folder", f"--data_dir={frames / 'data'}", f"--output_dir={frames / 'run'}")
    result = shell("train", *where, *SMALL, "--stages=teacher,distill", "--teacher=unet(width=4)", *flags)
    assert result.code == 1
    *_, line = result.err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words), line
