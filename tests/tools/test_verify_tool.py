"""tools/verify.py: a file and the network that it was made from, on a folder of pictures."""

import json

import numpy as np
from PIL import Image

from tfsegkd import export
from tfsegkd._keras import keras
from tfsegkd.quantization import quantize


def test_a_file_is_held_against_its_network(shell, tmp_path):
    levels = np.array([42.0, 128.0, 213.0])
    image = keras.Input((32, 48, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="classifier")(image), name="bright")
    kernel = np.tile(2 * levels / 3, (3, 1))[None, None] / 1000
    model.get_layer("classifier").set_weights([kernel, -(levels**2) / 1000])
    masks = np.random.default_rng(0).integers(0, 3, (3, 32, 48)).astype(np.uint8)
    frames = np.repeat(levels[masks][..., None], 3, -1).astype(np.uint8)
    root = tmp_path / "data"
    for kind, pictures in (("images", frames), ("masks", masks)):
        (root / kind).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / kind / f"{number}.png")
    (root / "labels.txt").write_text("dark\nmiddle\nlight")
    quantized = quantize(model, calibration=[frames.astype(np.float32)])
    quantized.save(tmp_path / "bright.keras")
    export.export_tflite(quantized, tmp_path / "bright.tflite")

    flags = [f"--file={tmp_path / 'bright.tflite'}", f"--model={tmp_path / 'bright.keras'}"]
    flags += ["--dataset=folder", f"--data_dir={root}", "--split=all", f"--json={tmp_path / 'found.json'}"]
    result = shell("verify", *flags)
    assert result.code == 0, result.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["num_images"] == 3 and set(found["class_agreement"]) == {"dark", "middle", "light"}
    assert found["mean_iou"]["keras"] == 1 and found["int8_agreement"] == 1
    assert found["ops"]["ops"]["CONV_2D"] == 1 and set(found["sqnr_db"]) == {"classifier"}
    assert "CONV_2D" in result.out and "classifier" in result.out

    result = shell("verify", *flags[:1], f"--model={tmp_path / 'gone.keras'}", *flags[2:])
    assert result.code == 1 and "gone.keras" in result.err and "Traceback" not in result.err
