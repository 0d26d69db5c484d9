"""The command lines: what they write, and the one line that they say when something is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_lines import TOOLS, Result, environment
from PIL import Image

from tfsegkd import models
from tfsegkd._keras import keras

CONFIGS = TOOLS.parent / "configs"
NAMES = ("field", "road", "sky")


@pytest.fixture
def folder(tmp_path):
    """Ten frames of 32×48 with masks of three classes and void: eight for training, two held out."""
    root = tmp_path / "data"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(NAMES))
    random = np.random.default_rng(0)
    for number in range(10):
        mask = np.sort(random.integers(0, 3, (32, 1)), axis=0).repeat(48, 1).astype(np.uint8)
        image = (60 * mask[..., None] + random.integers(0, 60, (32, 48, 3))).astype(np.uint8)
        mask[0] = 255
        Image.fromarray(image).save(root / "images" / f"frame_{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"frame_{number}.png")
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network of three classes that knows no better than the brightness of a pixel."""
    image = keras.Input((32, 48, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(image), name="bright")
    # The best class is the one whose brightness, 30, 90 or 150, is nearest.
    levels = np.array([30.0, 90.0, 150.0])
    kernel = np.tile(2 * levels / 3, (3, 1))[None, None]
    model.get_layer("logits").set_weights([kernel, -(levels**2)])
    path = tmp_path_factory.mktemp("saved") / "bright.keras"
    model.save(path)
    return path


def says(result, *words):
    """Ends in one line that begins with `error:` and holds `words`, after no training and no traceback."""
    *before, line = result.err.splitlines()
    assert line.startswith("error: "), result.err
    # TensorFlow may have found something to say about the machine.
    assert not [other for other in before if not re.match(r"[EWI]\d{4} |WARNING", other)], result.err
    assert result.code == 1
    assert "epoch" not in result.out
    for word in words:
        assert word in line


# tools/train.py with flags that are wrong.

WRONG_FLAGS = {
    "missing directory": (["--dataset=folder", "--data_dir=nowhere"], ["--data_dir='nowhere'"]),
    "no directory": (["--dataset=folder"], ["--data_dir=DIRECTORY"]),
    "unknown data set": (["--dataset=rode_scenes"], ["road_scenes"]),
    "unknown split": (["--val_split=vale"], ["vale", "'val'"]),
    "unknown loss": (["--distill=pixelwize"], ["Did you mean 'pixelwise'"]),
    "malformed spec": (["--distill=pixelwise(temperature=4"], ["Expected name(key=value)"]),
    "unknown option": (["--distill=pixelwise(heat=4)"], ["temperature"]),
    "a term twice": (["--distill=hint", "--distill=hint*2"], ["['hint']"]),
    "unknown student": (["--student=mobile_net"], ["Unknown model 'mobile_net'", "mobile_unet"]),
    "student's option": (["--student=mobile_unet(width=2)"], ["width_multiplier"]),
    "unknown teacher": (["--teacher=deeplab"], ["Unknown model 'deeplab'", "deeplab_v3_plus"]),
    "missing teacher": (["--teacher=gone.keras"], ["gone.keras"]),
    "unknown stage": (["--stages=teacher,destill"], ["--stages", "'destill'", "distill"]),
    "unknown layer": (["--distill=attention@stage4:stage7"], ["'stage7' not found in student", "stage4"]),
    "unknown layer in pruning": (
        ["--stages=student_alone,prune", "--prune_distill=hint@stage4:stage7"],
        ["'stage7' not found in student"],
    ),
    "unknown layer in grouping": (
        ["--stages=teacher,student_alone,group", "--group_distill=attention@stage4:stage7"],
        ["'stage7' not found in student"],
    ),
    "unknown layer to group": (["--stages=student_alone,group", "--group_layers=stage7"], ["'stage7'"]),
    "input size": (["--input_size=48by64"], ["--input_size='48by64'", "HEIGHTxWIDTH"]),
    "crop size": (["--crop_size=48x0"], ["--crop_size='48x0'"]),
    "scale": (["--min_scale=2", "--max_scale=1"], ["max_scale"]),
    "schedule": (["--distill=pixelwise*fade(steps=3)"], ["fade", "cosine_decay"]),
    "a beginning for nobody": (
        ["--initialize_from=encoder.keras", "--dense=student.keras", "--stages=quantize"],
        ["--initialize_from=encoder.keras", "--dense"],
    ),
    "a beginning for what is pruned": (
        ["--initialize_from=encoder.keras", "--stages=prune,group"],
        ["--initialize_from=encoder.keras", "a new student"],
    ),
    "a finer teacher in a step": (["--teacher_size=96x128"], ["--teacher_size needs --cache_teacher"]),
    "options of a saved teacher": (["--teacher_flip"], ["is a network to train"]),
    "scale of a teacher": (["--teacher_scales=1,none"], ["--teacher_scales='none'"]),
    "no labels for ifvd": (["--task_weight=0", "--distill=ifvd"], ["['ifvd'] need them"]),
    "unlabelled images": (["--unlabelled=nowhere"], ["--unlabelled='nowhere'", "road_scenes"]),
    "no unlabelled images": (["--unlabelled_in_batch"], ["--unlabelled_in_batch is for --unlabelled"]),
    "a directory": (["--unlabelled=no/where"], ["neither a directory nor a data set. Correct the path."]),
    "an option of a network": (["--student=unet(width=0)"], ["width of model 'unet' must be"]),
    "no teacher yet": (["--stages=distill"], ["teacher.keras", "--stages"]),
    "no teacher after a student": (["--stages=student_alone,distill"], ["teacher.keras", "--stages"]),
    "nothing to export": (["--stages=student_alone,export"], ["student_qat.keras", "--stages"]),
}


@pytest.mark.parametrize("flag", ["--dense=student.keras", "--teacher=one.keras,two.tflite"])
def test_a_saved_network_needs_the_name_of_its_data(flag, shell, tmp_path):
    result = shell("train", flag, "--stages=quantize", f"--output_dir={tmp_path / 'run'}")
    says(result, flag, "--dataset=folder")


def test_a_directory_needs_the_name_of_its_data_set(shell, tmp_path):
    for command, *flags in (["train"], ["evaluate", "--model=mine.keras"], ["inspect_data"]):
        result = shell(command, *flags, f"--data_dir={tmp_path}")
        says(result, f"--data_dir={tmp_path}", "then road_scenes", "--dataset=folder")


def test_home_is_found_in_every_path(shell):
    says(shell("evaluate", "--model=~/gone.keras"), os.path.expanduser("~/gone.keras"))


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--prune=macs:0.3", "--prune is not used; add prune to --stages"),
        ("--groups=8", "--groups is not used; add group to --stages"),
        ("--max_miou_drop=2", "it is for --quantize=auto"),
    ],
)
def test_a_flag_of_a_stage_that_is_not_run_is_noted(flag, words, shell, tmp_path):
    result = shell(
        "train", flag, "--dataset=folder", "--data_dir=nowhere", f"--output_dir={tmp_path / 'run'}"
    )
    assert words in result.out


def test_a_saved_teacher_that_no_stage_uses_is_noted(shell, tmp_path):
    flags = ("--teacher=mine.keras", "--stages=student_alone", "--dataset=folder", "--data_dir=nowhere")
    result = shell("train", *flags, f"--output_dir={tmp_path / 'run'}")
    assert "note: --teacher=mine.keras is not used" in result.out


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_wrong_flags_are_one_line(case, shell, tmp_path):
    flags, words = WRONG_FLAGS[case]
    smoke = f"--flagfile={CONFIGS / 'smoke.cfg'}"
    result = shell("train", smoke, *flags, f"--output_dir={tmp_path / 'run'}")
    says(result, *words)
    assert not list(tmp_path.rglob("*.keras"))


@pytest.mark.parametrize("dry_run", ["--dry_run", "--nodry_run"])
def test_networks_are_checked_before_images_are_read(dry_run, shell, tmp_path):
    smoke, output = f"--flagfile={CONFIGS / 'smoke.cfg'}", f"--output_dir={tmp_path / 'run'}"
    result = shell("train", smoke, "--student=unet(width=0)", dry_run, output)
    says(result, "width of model 'unet' must be")
    assert "examples" not in result.out


@pytest.mark.parametrize(
    ("layer_name", "word"),
    [
        ("aspp:decoder", "'aspp' not found in teacher 'bright'"),
        ("logits:nowhere", "'nowhere' not found in student 'unet'"),
    ],
)
def test_a_wrong_layer_shows_before_the_student_is_trained_alone(shell, folder, saved, layer_name, word):
    where = (f"--data_dir={folder}", f"--output_dir={folder.parent / 'run'}")
    flags = ("--dataset=folder", "--input_size=32x48", "--batch_size=2", "--student=unet(width=2)")
    result = shell("train", *flags, *where, f"--teacher={saved}", f"--distill=hint@{layer_name}")
    says(result, word)
    assert not (folder.parent / "run").exists()


def test_a_network_of_other_classes_shows_before_its_teacher_is_trained(shell, saved, tmp_path):
    flags = (f"--flagfile={CONFIGS / 'smoke.cfg'}", "--dataset=road_scenes", "--stages=teacher,quantize")
    result = shell("train", *flags, f"--dense={saved}", f"--output_dir={tmp_path / 'run'}")
    says(result, "predicts 3 classes, the data set has 11")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("losses", "pairwise"), ("models", "erfnet"), ("datasets", "tfds:NAME"), ("importance", "taylor")],
)
def test_a_list_has_a_sentence_for_each_choice(kind, name, shell):
    result = shell("train", f"--list={kind}")
    assert result.code == 0
    lines = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert name in lines and all(len(sentence) > 5 for sentence in lines.values())


def test_debug_shows_where(shell):
    result = shell("train", "--input_size=1", "--debug")
    assert result.code == 99 and "Traceback" in result.err and "HEIGHTxWIDTH" in result.err


def test_a_word_without_dashes_is_refused(shell):
    result = shell("train", "epochs=3")
    assert result.code == 1 and "epochs=3" in result.err and "Traceback" not in result.err


# tools/train.py with data that are wrong. No teacher has been trained, so that a run that gets past its data
# stops there.


def train_on(shell, folder, *flags):
    where = (f"--data_dir={folder}", f"--output_dir={folder.parent / 'run'}")
    rest = ("--input_size=32x48", "--stages=distill")
    return shell("train", "--dataset=folder", *where, *rest, *flags)


def test_valid_data_pass_the_statistics(shell, folder):
    result = train_on(shell, folder)
    assert "folder train: 8 examples\n" in result.out and "folder val: 2 examples\n" in result.out
    says(result, "teacher.keras")


def test_a_missing_list_is_named(shell, folder):
    says(shell("train", "--dataset=camvid", f"--data_dir={folder}"), str(folder / "train.txt"))


def test_an_image_without_a_mask_is_named(shell, folder):
    (folder / "masks" / "frame_3.png").unlink()
    says(train_on(shell, folder), "1 of the 10 images", "'frame_3'")


def test_an_unreadable_picture_is_named_or_left_out(shell, folder):
    picture = folder / "images" / "frame_3.png"
    picture.write_bytes(picture.read_bytes()[:200])
    (folder / "images" / "frame_4.png").write_text("no picture")
    says(train_on(shell, folder), f"Cannot read '{picture}'", "--skip_bad_examples")
    result = train_on(shell, folder, "--skip_bad_examples")
    assert "folder train: 7 examples, 1 left out\n" in result.out
    assert "folder val: 1 examples, 1 left out\n" in result.out
    assert result.out.count("skipped: Cannot read") == 2 and str(picture) in result.out
    says(result, "teacher.keras")


def test_a_label_beyond_the_classes_is_named(shell, folder):
    path = folder / "masks" / "frame_2.png"
    mask = np.array(Image.open(path))
    mask[5, 7] = 3
    Image.fromarray(mask).save(path)
    says(train_on(shell, folder), f"'{path}' has label 3 at row 5, column 7", "0…2")


def test_a_mask_of_another_size_is_named(shell, folder):
    path = folder / "masks" / "frame_2.png"
    Image.open(path).resize((20, 10), Image.Resampling.NEAREST).save(path)
    says(train_on(shell, folder), f"its mask '{path}' is 10×20", "32×48")


# The other tools.


def test_evaluate_writes_what_it_prints(shell, folder, saved):
    out = folder.parent / "scores" / "result.json"
    flags = ("--dataset=folder", f"--data_dir={folder}", f"--json={out}")
    result = shell("evaluate", f"--model={saved}", "--split=all", *flags)
    assert result.code == 0, result.err
    scores = json.loads(out.read_text())
    # Classes lie 60 apart and the noise spans 60: the mean of three channels seldom errs.
    assert scores["num_images"] == 10 and set(scores["iou"]) == set(NAMES)
    assert scores["mean_iou"] > 0.95 and scores["pixel_accuracy"] > 0.95
    assert f"{100 * scores['mean_iou']:.2f}" in result.out


def test_evaluate_refuses_what_does_not_fit(shell, folder, saved):
    where = ("--dataset=folder", f"--data_dir={folder}")
    (folder / "labels.txt").write_text("field\nroad\nsky\nsea")
    says(shell("evaluate", f"--model={saved}", *where), "predicts 3 classes", "has 4")
    says(shell("evaluate", "--model=gone.tflite", *where), "gone.tflite")
    (folder.parent / "bad.tflite").write_text("no network")
    says(shell("evaluate", f"--model={folder.parent / 'bad.tflite'}", *where), "bad.tflite", "LiteRT")


def test_predict_draws_masks_of_the_image_s_size(shell, folder, saved):
    directory = folder.parent / "drawn"
    Image.open(folder / "images" / "frame_0.png").resize((100, 50)).save(folder / "large.jpg")
    labels = f"--labels={folder / 'labels.txt'}"
    flags = (f"--model={saved}", f"--output_dir={directory}", labels)
    result = shell("predict", f"--images={folder}/*.jpg", *flags)
    assert result.code == 0, result.err
    assert "large.jpg: " in result.out and "1 images" in result.out
    with Image.open(directory / "large_mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (100, 50)) and np.asarray(mask).max() <= 2
    with Image.open(directory / "large_overlay.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (100, 50))
    says(shell("predict", f"--images={folder}/*.tif", *flags), "matches no image")


def test_predict_refuses_labels_that_do_not_fit(shell, folder, saved):
    (folder / "labels.txt").write_text("field\nroad")
    flags = (f"--model={saved}", f"--labels={folder / 'labels.txt'}", f"--output_dir={folder.parent / 'd'}")
    says(shell("predict", f"--images={folder / 'images'}", *flags), "names 2 classes", "predicts 3")


def test_export_refuses_what_does_not_fit(shell, folder, saved):
    flags = (f"--model={saved}", f"--output_dir={folder.parent / 'files'}")
    says(shell("export", *flags, f"--labels={folder / 'none.txt'}"), "none.txt")
    (folder / "labels.txt").write_text("field\nroad")
    says(shell("export", *flags, f"--labels={folder / 'labels.txt'}"), "names 2 classes", "predicts 3")


def test_study_asks_for_methods(shell, tmp_path):
    base = f"--base={CONFIGS / 'smoke.cfg'}"
    says(shell("study", base), "--method")
    says(shell("study", base, "--method=alone"), "'alone'", "name>stage")
    says(shell("study", "--base=gone.cfg", "--method=alone>student:"), "--base='gone.cfg'")


# As processes of their own.

_TRAIN = """
import runpy, sys
from tfsegkd.recipe import Recipe
from tfsegkd.runtime.in_subprocess import computes
Recipe.run = lambda *arguments, **options: print("computes:", computes())
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_tensorflow_does_not_compute_before_the_first_stage(folder, saved):
    # Else no stage could have a process of its own, and the memory of all would add up.
    where = ("--dataset=folder", f"--data_dir={folder}")
    flags = (*where, "--input_size=32x48", "--batch_size=2", f"--teacher={saved}", "--deterministic")
    done = run("-c", _TRAIN, TOOLS, TOOLS / "train.py", *flags)
    assert "computes: False" in done.stdout.splitlines(), done.stderr


_KILLED = """
import os, runpy, signal, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tfsegkd.recipe import StudentAlone
StudentAlone.make = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_stage_that_is_killed_is_named_in_one_line(folder):
    where = ("--dataset=folder", f"--data_dir={folder}", f"--output_dir={folder.parent / 'run'}")
    flags = (*where, "--input_size=32x48", "--batch_size=2", "--stages=student_alone")
    done = run("-c", _KILLED, TOOLS, TOOLS / "train.py", *flags)
    says(
        Result(done.returncode, done.stdout, done.stderr),
        "student_alone: a process stopped: killed by SIGKILL, often a sign of too little memory",
        "run the same command again",
    )


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=900)


@pytest.mark.slow
def test_a_tool_says_nothing_but_its_error():
    done = run(TOOLS / "train.py", "--stages=teachr")
    assert (done.returncode, done.stdout) == (1, "")
    says(Result(done.returncode, done.stdout, done.stderr), "--stages must be one of", "'teachr'")


@pytest.mark.slow
def test_one_command_from_frames_to_a_file(tmp_path):
    flags = (f"--flagfile={CONFIGS / 'smoke.cfg'}", f"--output_dir={tmp_path}")
    done = run(TOOLS / "train.py", *flags)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    rows = ["teacher", "student", "pruned", "student_qat", "int8"]
    assert [row["name"] for row in report["stages"]] == rows
    assert report["flags"]["batch_size"] == 4 and report["float_ops"] == []
    for row in rows:
        assert f"\n{row} " in done.stdout, "the final table"
    # What exists is reused; what is gone is made again, alone.
    (tmp_path / "student.keras").unlink()
    shutil.rmtree(tmp_path / "student")
    done = run(TOOLS / "train.py", *flags, "--stages=teacher,distill")
    assert done.returncode == 0, done.stderr
    assert "teacher: done before, reusing" in done.stdout and "student: done before" not in done.stdout
    # And the files are what their other users take.
    result = tmp_path / "result.json"
    dataset = "--dataset=road_scenes(height=48, width=64, num_images=16)"
    model = f"--model={tmp_path / 'model_int8.tflite'}"
    done = run(TOOLS / "evaluate.py", model, dataset, f"--json={result}")
    assert done.returncode == 0, done.stderr
    assert json.loads(result.read_text())["mean_iou"] == report["stages"][-1]["mean_iou"]
    labels, model = f"--labels={tmp_path / 'labels.txt'}", f"--model={tmp_path / 'student_qat.keras'}"
    done = run(TOOLS / "export.py", model, labels, f"--output_dir={tmp_path / 'again'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / "model_int8.tflite").is_file()
    assert models.load(tmp_path / "student.keras").output_shape == (None, 48, 64, 11)
