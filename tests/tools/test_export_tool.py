"""tools/export.py: a saved network in, files for an app out; and the table of a device."""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from tfsegkd._keras import keras
from tfsegkd.export import read_labels

CLASSES = ("dark", "middle", "light")


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A float network that tells three brightnesses apart, its labels, and pictures of all three."""
    root = tmp_path_factory.mktemp("box")
    image = keras.Input((32, 48, 3), name="image")
    x = keras.layers.Conv2D(3, 1, strides=2, name="classifier")(image)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear", name="logits")(x)
    model = keras.Model(image, x, name="bright")
    levels = np.array([42.0, 128.0, 213.0])
    kernel = np.tile(2 * levels / 3, (3, 1))[None, None] / 1000
    model.get_layer("classifier").set_weights([kernel, -(levels**2) / 1000])
    model.save(root / "bright.keras")
    (root / "labels.txt").write_text("\n".join(CLASSES))
    (root / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        levels = random.permutation([30, 128, 220]).repeat(16).astype(np.uint8)
        picture = np.broadcast_to(levels[None, :, None], (32, 48, 3))
        Image.fromarray(picture).save(root / "photos" / f"{number}.png")
    return root


def refused(result, *words):
    assert result.code == 1 and "Traceback" not in result.err, result.err
    line = result.err.splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_what_does_not_fit_is_one_line(shell, box, tmp_path):
    model, labels = f"--model={box / 'bright.keras'}", f"--labels={box / 'labels.txt'}"

    def export(*flags):
        return shell("export", model, f"--output_dir={tmp_path / 'new'}", *flags)

    refused(export("--bundle"), "Pass --labels")
    refused(export(labels, "--golden=a.png"), "--golden is for a bundle", "--bundle")
    refused(export(labels, "--bundle"), "'bright' is a float network", "calibration")
    refused(export(labels, "--bundle", f"--calibration={tmp_path}"), "contains no image")
    photos = ("--dataset=unlabelled", f"--data_dir={box / 'photos'}", f"--calibration={box / 'photos'}")
    refused(export(labels, "--bundle", *photos), "--dataset=unlabelled has no labels to evaluate")
    np.save(tmp_path / "small.npy", np.zeros((2, 8, 8, 3), np.uint8))
    np.save(tmp_path / "normalised.npy", np.full((2, 32, 48, 3), 0.5, np.float32))
    refused(export(labels, "--bundle", f"--calibration={tmp_path / 'small.npy'}"), "input shape")
    refused(export(labels, "--bundle", f"--calibration={tmp_path / 'normalised.npy'}"), "0…255")
    (tmp_path / "layers.csv").write_text("layer,ms\nclassifier,1\n")
    table = f"--latency_table={tmp_path / 'layers.csv'}"
    refused(export(labels, "--bundle", f"--calibration={box / 'photos'}", table), "file,ms")
    (tmp_path / "two.txt").write_text("dark\nlight")
    refused(export(f"--labels={tmp_path / 'two.txt'}", "--bundle"), "names 2 classes", "predicts 3")
    assert not (tmp_path / "new").exists()


def test_a_network_of_one_channel_has_a_class_and_its_background(shell, box, tmp_path):
    image = keras.Input((32, 48, 3), name="image")
    x = keras.layers.Conv2D(1, 1, activation="sigmoid", name="light")(image)
    model = keras.Model(image, x, name="light")
    # Light is what is brighter than 128.
    model.get_layer("light").set_weights([np.full((1, 1, 3, 1), 0.02), np.array([-0.06 * 128])])
    model.save(tmp_path / "light.keras")
    (tmp_path / "labels.txt").write_text("background\nlight")
    flags = (f"--model={tmp_path / 'light.keras'}", f"--labels={tmp_path / 'labels.txt'}")
    result = shell("export", *flags, f"--calibration={box / 'photos'}", f"--output_dir={tmp_path / 'files'}")
    assert result.code == 0, result.err
    file = tmp_path / "files" / "model_int8.tflite"
    assert read_labels(file.read_bytes()) == ("background", "light")
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    picture = np.asarray(Image.open(box / "photos" / "0.png"))[None]
    scale, zero = given["quantization"]
    pixels = picture if given["dtype"] == np.uint8 else np.rint(picture / scale + zero)
    interpreter.set_tensor(given["index"], pixels.astype(given["dtype"]))
    interpreter.invoke()
    logits = interpreter.get_tensor(made["index"])
    assert logits.shape == (1, 32, 48, 2)
    sure = np.abs(picture[..., 0].astype(int) - 128) > 20
    assert (logits.argmax(-1) == (picture[..., 0] > 128))[sure].all()


@pytest.mark.slow
def test_a_float_network_becomes_a_bundle(shell, box, tmp_path):
    directory = tmp_path / "bundle"
    flags = (
        f"--model={box / 'bright.keras'}",
        f"--labels={box / 'labels.txt'}",
        f"--calibration={box / 'photos'}",
        f"--golden={box / 'photos' / '1.png'}",
        f"--output_dir={directory}",
        "--bundle",
    )
    result = shell("export", *flags)
    assert result.code == 0, result.err
    card = json.loads((directory / "model_card.json").read_text())
    assert card["made"]["quantization"].startswith("post-training") and card["golden"]["agreement"] > 0.98
    golden = np.asarray(Image.open(directory / "golden_mask.png"))
    assert sorted(np.unique(golden)) == [0, 1, 2]
    picture = np.asarray(Image.open(box / "photos" / "1.png"))[..., 0]
    assert (golden == np.digitize(picture, [85, 170])).mean() > 0.9
    refused(shell("export", *flags), "already exists", "overwrite")

    # The table in it, filled, is read by whoever is asked for the time of a file.
    table = directory / "latency_table.csv"
    table.write_text(table.read_text().replace("model_int8.tflite,,", "model_int8.tflite,7.5,"))
    root = tmp_path / "data"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(CLASSES))
    Image.fromarray(golden).save(root / "masks" / "1.png")
    (root / "images" / "1.png").write_bytes((box / "photos" / "1.png").read_bytes())
    where = ("--dataset=folder", f"--data_dir={root}", "--split=all", f"--latency_table={table}")
    result = shell(
        "evaluate", f"--model={directory / 'model_int8.tflite'}", *where, f"--json={tmp_path / 'a.json'}"
    )
    assert result.code == 0, result.err
    scores = json.loads((tmp_path / "a.json").read_text())
    assert scores["device_ms"] == 7.5 and scores["mean_iou"] == 1 and "7.50" in result.out
    refused(shell("evaluate", f"--model={box / 'bright.keras'}", *where), "no line for 'bright.keras'")
