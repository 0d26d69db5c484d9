"""What a run leaves on disk, after the disk or somebody else has been at it; and images."""

import io
import json

import fuzzing
import numpy as np
import pytest
import tensorflow as tf
from fuzzing import altered, damaged, fuzz, ours
from hypothesis import strategies as st
from PIL import Image

from tfsegkd import reporting
from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source
from tfsegkd.data.images import read_image
from tfsegkd.data.masks import LabelReader, MaskReading, read_mask
from tfsegkd.distillation import TeacherCache
from tfsegkd.distillation.teachers import Teacher
from tfsegkd.recipe import comparison, study, study_runs
from tfsegkd.recipe.progress import Progress
from tfsegkd.recipe.state import State
from tfsegkd.reporting import summary

_INFO = DatasetInfo("noise", ("a", "b"), ((0, 0, 0), (9, 9, 9)))


def _picture(form, mode):
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 2, (6, 9), np.uint8)).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, form)
    return stream.getvalue()


_PICTURES = [
    _picture(form, mode)
    for form, modes in {
        "PNG": ("L", "P", "RGB", "RGBA", "1", "I;16"),
        "JPEG": ("L", "RGB", "CMYK"),
        "GIF": ("P",),
        "BMP": ("L", "RGB"),
        "TIFF": ("L", "I", "F", "RGB", "1"),
        "WEBP": ("RGB",),
        "PPM": ("L", "RGB"),
        "TGA": ("RGB",),
    }.items()
    for mode in modes
]
_pictures = st.sampled_from(_PICTURES).flatmap(damaged) | st.binary(max_size=80) | st.sampled_from(_PICTURES)


@fuzz(_pictures, 1500)
def test_images_and_masks(content, box):
    """Image files of every kind and mode, damaged or not."""
    (box / "a.png").write_bytes(content)
    with ours():
        assert read_image(box / "a.png").dtype == np.uint8
    with ours():
        read_mask(box / "a.png")
    with ours():
        labels = LabelReader(_INFO, MaskReading(colors={(0, 0, 0): 0, (1, 1, 1): 1}))(box / "a.png")
        assert set(np.unique(labels)) <= {0, 1, 255}


_STATE = {
    name: {
        "settings": {
            "val": {"dataset": "x", "examples": 2, "fingerprint": "f"},
            "schedule": {"epochs": 3},
            "seed": 0,
        },
        "result": result,
    }
    for name, result in (
        (
            "teacher",
            {"name": "teacher", "mean_iou": 0.5, "iou": {"a": 0.5, "b": None}, "file": "teacher.keras"},
        ),
        ("student", None),
    )
}
_ROW = {
    "name": "teacher",
    "mean_iou": 0.5,
    "pixel_accuracy": 0.9,
    "iou": {"a": 0.5, "b": None},
    "file": "t.keras",
}
_ROW |= {"parameters": 10, "macs": 100, "file_bytes": 1000, "latency_ms": 1.5, "seconds": 3.0}
_REPORT = {
    "stages": [_ROW, _ROW | {"name": "int8", "file": "model_int8.tflite"}],
    "seed": 0,
    "flags": {"dataset": "x", "seed": 0, "flip": True, "distill": ["pixelwise"]},
    "versions": {"python": "3"},
    "peak_memory_mb": 5,
}


def _text(tree, data):
    """JSON as it might stand on a disk."""
    text = json.dumps(data.draw(altered(tree)) if data.draw(st.booleans()) else tree).encode()
    return data.draw(damaged(text)) if data.draw(st.booleans()) else text


@fuzz(st.data(), 700)
def test_records_of_runs(data, box):
    """state.json, when a run goes on."""
    (box / "state.json").write_bytes(_text(_STATE, data))
    with ours():
        state = State(box)
        for stage in ("teacher", "student", "other"):
            state.result(stage, {"seed": 0})


@fuzz(st.data(), 900)
def test_reports_of_runs(data, box):
    """report.json, state.json and flags.json, when a page is made of them."""
    for name, tree in (("report", _REPORT), ("state", _STATE), ("flags", _REPORT["flags"])):
        (box / f"{name}.json").write_bytes(_text(tree, data))
    with ours():
        runs = reporting.read_runs([box])
        for run in runs:
            assert all(path.resolve().is_relative_to(box) for path in run.networks.values())
            _ = run.unfinished, run.final, run.float_student, run.classes, run.settings
        summary.result_sentence(runs)
        summary.grouped(runs)
        summary.baseline(runs[0])


@fuzz(st.data(), 500)
def test_reports_of_studies(data, box):
    """study.json, when a study goes on and is compared."""
    method = study.Method("alone", ("--a=b",), ("teacher",))
    asked = study.Study(("train",), (method,), (0,), box)
    path = box / "alone" / "seed_0" / "study.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_text(_REPORT | {"asked": ["--a=b"], "minutes": 3.0}, data))
    with ours():
        report = study_runs._done_before(asked, method, 0)
        comparison.table(comparison.compare(asked, {"alone": {0: report}}))


class _Frames(Source):
    def __init__(self):
        super().__init__(_INFO, ["one", "two"])

    def read(self, index):
        return np.full((4, 6, 3), index, np.uint8), np.zeros((4, 6), np.uint8)


class _Bright(Teacher):
    name, size, input_size = "bright", None, None

    def feature_extractor(self, names):
        return lambda images: {"logits": tf.cast(images[..., :2], tf.float32)}

    def shapes(self, names, image_shape):
        return {"logits": (*image_shape[:2], 2)}

    def fingerprint(self):
        return "bright"


def _cache(directory):
    return TeacherCache(directory, _Bright(), _Frames(), (4, 6))


@fuzz(st.data(), 500)
def test_teacher_caches(data, box):
    """A frame's file or the list of what was recorded, torn."""
    directory = box / "cache"
    cache = _cache(directory)
    file = directory / data.draw(st.sampled_from(("manifest.json", "logits/000000.npz")))
    whole = file.read_bytes()
    file.write_bytes(data.draw(damaged(whole)))
    with ours():
        cache.read(0)
    with ours():
        _cache(directory)
    file.write_bytes(whole)


@pytest.fixture(scope="module", autouse=True)
def progress(tmp_path_factory):
    """Two checkpoints of a small network."""
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    directory = tmp_path_factory.mktemp("checkpoints")
    value = tf.Variable(0.0)
    kept = Progress(directory, model, value=value)
    for epoch in (1, 2):
        value.assign(epoch)
        kept.save(epoch)
    files = {
        path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    _saved.update(model=model, files=files)
    yield
    _saved.clear()


_saved = {}


@fuzz(st.data(), 200)
def test_checkpoints(data, box):
    """One torn file costs one checkpoint and never the training."""
    torn = data.draw(st.sampled_from(sorted(_saved["files"])))
    for path, content in _saved["files"].items():
        (box / path).parent.mkdir(exist_ok=True)
        (box / path).write_bytes(data.draw(damaged(content)) if path == torn else content)
    value = tf.Variable(0.0)
    with ours():
        epoch = Progress(box, _saved["model"], value=value).restore()
        # What was not harmed, or lies in the older one, is used.
        assert epoch == value.numpy() and epoch in (1, 2)


def test_the_slow_suite_generates_more_than_ten_thousand_inputs():
    """Each check says how many; the summary of a run counts those that were made."""
    import test_fuzz_flags
    import test_fuzz_lists
    import test_fuzz_networks

    assert test_fuzz_flags and test_fuzz_lists and test_fuzz_networks
    print(f"{len(fuzzing.planned)} checks, {sum(fuzzing.planned.values()):,} inputs")
    assert sum(fuzzing.planned.values()) >= 10_000
