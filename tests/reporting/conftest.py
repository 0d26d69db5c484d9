"""A run of three small networks, put together without training."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfsegkd import data, runtime
from tfsegkd._keras import keras

SIZE = (32, 48)
# The first must not be taken for markup by the page.
CLASSES = ("<img src=x onerror=alert(1)>", "road", "sky")
LEVELS = np.array([30.0, 90.0, 150.0])
FRAMES = 12


def network(levels, width=4):
    """Says of each pixel which of `levels` its brightness is nearest to, after a layer of no effect."""
    image = keras.Input((*SIZE, 3), name="image")
    x = keras.layers.Conv2D(width, 1, use_bias=False, name="wide")(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(x), name="bright")
    # Each channel of the first layer is the mean of the colors.
    model.get_layer("wide").set_weights([np.full((1, 1, 3, width), 1 / 3)])
    model.get_layer("logits").set_weights([np.tile(2 * levels / width, (width, 1))[None, None], -(levels**2)])
    return model


def frames(root):
    """Masks in bands and images of their brightness with noise, each frame noisier than the one before."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(CLASSES))
    random = np.random.default_rng(0)
    for number in range(FRAMES):
        # The class "sky" is in every other frame.
        mask = (np.arange(SIZE[0]) * (2 + number % 2) // SIZE[0])[:, None].repeat(SIZE[1], 1).astype(np.uint8)
        noise = random.normal(0, 6 + 3 * number, (*SIZE, 1))
        image = np.clip(LEVELS[mask][..., None] + noise, 0, 255).repeat(3, 2).astype(np.uint8)
        mask[:2] = 255
        Image.fromarray(image).save(root / "images" / f"frame_{number:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"frame_{number:02}.png")


def log(directory, values, first_epoch=0):
    """Writes what Keras' TensorBoard callback would."""
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        for name, by_epoch in values.items():
            for step, value in enumerate(by_epoch, start=first_epoch):
                tf.summary.scalar(f"epoch_{name}", value, step=step)
    writer.close()


def row(name, mean_iou, file, **more):
    iou = {CLASSES[0]: mean_iou, CLASSES[1]: mean_iou / 2, CLASSES[2]: None}
    return {"name": name, "mean_iou": mean_iou, "pixel_accuracy": 0.9, "iou": iou, "file": file, **more}


def searched():
    """What a search has left: three candidates, of which one was left out early and one failed."""

    def trained(network, size, macs, scores, failed=""):
        costs = {"macs": macs, "bytes": 2 * macs}
        return {"network": network, "size": size, "costs": costs, "scores": scores, "failed": failed}

    return {
        "budget": "macs:2M,bytes:4M",
        "limits": {"macs": 2e6, "bytes": 4e6},
        "epochs": 60,
        "held_out_images": 7,
        "looked_at": [{}] * 30,
        "within": 20,
        "edge": 5,
        "trained": [
            trained("bright(width=9)", [16, 24], 1.0e6, {"12": 0.5}),
            trained("bright(width=4)", [32, 48], 1.5e6, {"12": 0.6, "24": 0.7}),
            trained("bright(width=2)", [64, 96], 1.9e6, {}, "the loss became NaN"),
        ],
        "chosen": "bright(width=4) at 32x48",
        "finished": {"mean_iou": 0.8, "images": 12},
        "why": "Chosen of 3: bright(width=4) at 32x48.",
        "file": {"name": "model_int8.tflite", "costs": {"macs": 1.5e6, "bytes": 3.1e6}, "exceeded": []},
        "drop": {"points": 1.25, "most": 2.0, "kept": True, "images": 7, "of": "model_int8.tflite"},
        "rank_correlation": {"12": 0.75, "24": 1.0},
    }


@pytest.fixture(scope="session")
def search():
    return searched()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    frames(root)
    return root


@pytest.fixture(scope="session")
def source(scenes):
    return data.load("folder", "all", scenes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, scenes, source):
    """The directory of a run that is done; who changes it takes a copy."""
    directory = tmp_path_factory.mktemp("runs") / "finished"
    directory.mkdir()
    network(LEVELS, width=9).save(directory / "teacher.keras")
    network(LEVELS + 4, width=6).save(directory / "student.keras")
    (directory / "model_int8.tflite").write_bytes(runtime.convert(network(LEVELS + 20), "float32", "float32"))
    rows = [
        row("teacher", 0.9, "teacher.keras", parameters=400, macs=4e6, file_bytes=4000000, latency_ms=20.0),
        row("student", 0.8, "student.keras", parameters=100, macs=1e6, file_bytes=400000, latency_ms=5.0),
        row("int8", 0.79, "model_int8.tflite", parameters=100, macs=1e6, file_bytes=100000, latency_ms=2.5),
    ]
    split = {"dataset": "folder", "examples": FRAMES, "fingerprint": source.fingerprint()}
    flags = {"dataset": "folder", "data_dir": str(scenes), "val_split": "all", "seed": 0, "flip": True}
    report = {
        "search": searched(),
        "stages": rows,
        "int8_agreement": 0.99,
        "seed": 0,
        "versions": {"python": "3"},
        "flags": flags,
    }
    state = {
        entry["name"]: {
            "settings": {"val": split, "size": SIZE, "schedule": {"epochs": 3}},
            "result": {key: entry[key] for key in ("name", "mean_iou", "iou", "file")},
        }
        for entry in rows[:2]
    }
    (directory / "report.json").write_text(json.dumps(report))
    (directory / "state.json").write_text(json.dumps(state))
    log(
        directory / "student" / "logs" / "train",
        {
            "loss": [3, 2, 1.5],
            "task_loss": [2, 1.2, 1],
            "pixelwise": [1, 0.8, 0.5],
            "mean_iou": [0.1, 0.5, 0.7],
        },
    )
    kept = {
        "report": None,
        "before": {"macs": 4e6, "parameters": 400},
        "after": {"macs": 1e6, "parameters": 100},
    }
    kept |= {"target": "macs:0.25", "importance": "l1", "kept": {"wide": [0, 2, 3, 5], "logits": [0, 1, 2]}}
    (directory / "student" / "pruning_1.json").write_text(json.dumps(kept))
    return directory
