"""What Android gets: whole or not at all, and what it says of itself is so."""

import csv
import hashlib
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from litert_masks import litert_masks
from PIL import Image

from tfsegkd import runtime
from tfsegkd.data import read_colors, read_labels
from tfsegkd.export import bundle as bundling
from tfsegkd.export import write_bundle
from tfsegkd.quantization import quantize

NETWORKS = {
    "model_int8.tflite": ("uint8", "int8"),
    "model_float_io.tflite": ("float32", "float32"),
    "model_stride2.tflite": ("uint8", "int8"),
    "model_labels.tflite": ("uint8", "uint8"),
    "model_float16.tflite": ("float32", "float32"),
}
OTHERS = {
    "README.md",
    "MediaPipeSegmenter.kt",
    "LiteRtSegmenter.kt",
    "labels.txt",
    "colors.txt",
    "latency_table.csv",
    "golden_input.png",
    "golden_mask.png",
    "model_card.json",
    "try.html",
}


def test_nothing_is_overwritten(aware_model, info, images, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"already exists.*overwrite=True"):
        write_bundle(aware_model, tmp_path, info, images[0])
    with pytest.raises(ValueError, match="is no bundle"):
        write_bundle(aware_model, tmp_path, info, images[0], overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_does_not_fit_is_refused(aware_model, float_model, info, images, tmp_path):
    def refuse(message, model=aware_model, info=info, golden=images[0], **options):
        with pytest.raises(ValueError, match=message):
            write_bundle(model, tmp_path / "bundle", info, golden, **options)

    refuse("There are 2 class names.*predicts 5 classes", info=SimpleNamespace(class_names=("a", "b")))
    refuse(r"golden image must be uint8 \(64, 96, 3\)", golden=images[0, :32])
    refuse("golden image must be uint8.*float", golden=images[0].astype(np.float32))
    refuse("is a float network.*calibration", model=float_model)
    refuse("is quantized and has ranges", calibration=images)
    refuse("nothing was ever measured", model=quantize(float_model))
    refuse("input shape", model=float_model, calibration=images[:, :32])
    refuse("raw pixels in 0…255", model=float_model, calibration=images / np.float32(255))
    refuse("empty", model=float_model, calibration=images[:0])
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(aware_model, info, images, tmp_path, monkeypatch):
    def fail(model, path, **options):
        path.write_bytes(b"half of it")
        raise RuntimeError("the power went")

    monkeypatch.setattr(bundling, "export_tflite", fail)
    with pytest.raises(RuntimeError, match="the power went"):
        write_bundle(aware_model, tmp_path / "bundle", info, images[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_everything_is_there(bundle, info):
    directory, card = bundle
    assert {path.name for path in directory.iterdir()} == {*NETWORKS, *OTHERS}
    assert read_labels(directory / "labels.txt") == info.class_names
    colors = read_colors(directory / "colors.txt", info.class_names)
    assert {label: color for color, label in colors.items()} == dict(enumerate(info.palette))
    readme = (directory / "README.md").read_text()
    assert "adb shell" in readme and "benchmark_model" in readme and "64×96" in readme
    for name in NETWORKS:
        assert f"`{name}`" in readme
    for name in ("README.md", "MediaPipeSegmenter.kt", "LiteRtSegmenter.kt"):
        assert not [
            word for word in (directory / name).read_text().split() if word.strip("`,.").count("@") > 1
        ]
    code = (directory / "LiteRtSegmenter.kt").read_text()
    assert "HEIGHT = 64" in code and "WIDTH = 96" in code and "CLASSES = 5" in code
    assert card.left_out == {}


@pytest.mark.slow
def test_the_card_tells_what_is_in_the_files(bundle, info):
    directory, _ = bundle
    card = json.loads((directory / "model_card.json").read_text())
    assert card["class_names"] == list(info.class_names) and card["size"] == [64, 96]
    assert card["accuracy"] == {"measured": "model_int8.tflite"}
    assert card["made"]["source"] == "tiny.keras" and card["macs"] > 0
    assert [one["file"] for one in card["files"]] == list(NETWORKS)
    for one in card["files"]:
        path = directory / one["file"]
        assert one["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert one["latency_ms"] > 0
        interpreter = Interpreter(model_path=str(path))
        for end, details in (
            ("input", interpreter.get_input_details()[0]),
            ("output", interpreter.get_output_details()[0]),
        ):
            scale, zero_point = details["quantization"]
            assert one[end]["shape"] == list(details["shape"])
            assert (one[end]["quantization"] or {"scale": 0, "zero_point": 0}) == {
                "scale": scale,
                "zero_point": zero_point,
            }
        assert (one["input"]["dtype"], one["output"]["dtype"]) == NETWORKS[one["file"]]
        assert bool(one["float_ops"]) == (one["file"] == "model_float16.tflite")
        if one["file"] != "model_labels.tflite":
            assert one["delegate_partitions"] == 1
    times = {one["file"]: one["device_ms"] for one in card["files"]}
    assert times["model_int8.tflite"] == 7.25 and times["model_float_io.tflite"] is None


@pytest.mark.slow
def test_the_golden_mask_is_the_file_s_and_the_network_s(bundle, aware_model, info, images):
    directory, card = bundle
    image = np.asarray(Image.open(directory / "golden_input.png"))
    np.testing.assert_array_equal(image, images[0])
    with Image.open(directory / "golden_mask.png") as picture:
        mask = np.asarray(picture)
        assert tuple(picture.getpalette()[: 3 * 5]) == tuple(np.ravel(info.palette))
    from_keras = aware_model(image[None].astype(np.float32), training=False).numpy()[0].argmax(-1)
    assert len(np.unique(mask)) >= 3
    assert (mask == from_keras).mean() == card.golden["agreement"] >= 0.98
    # Float halves, and logits that the app enlarges, say the same.
    half = runtime.Network(directory / "model_float16.tflite").predict(image[None])[0].argmax(-1)
    assert (half == mask).mean() >= 0.95


@pytest.mark.slow
def test_the_table_to_fill_is_one_that_is_read(bundle):
    directory, _ = bundle
    path = directory / "latency_table.csv"
    rows = list(csv.DictReader(path.open()))
    assert [row["file"] for row in rows] == list(NETWORKS)
    assert rows[0]["ms"] == "7.25" and rows[1]["ms"] == ""
    table = runtime.DeviceTable(path)
    assert table.milliseconds(directory / "model_int8.tflite") == 7.25
    assert table.milliseconds(directory / "model_float_io.tflite") is None


@pytest.mark.slow
def test_both_interfaces_of_litert_reproduce_the_golden_mask(bundle, tmp_path):
    litert_masks(sys.executable, bundle[0], tmp_path)


@pytest.mark.slow
def test_a_bundle_is_replaced_if_asked(bundle, aware_model, info, images, tmp_path, monkeypatch):
    """By another that fails, it is not."""
    directory = tmp_path / "again"
    shutil.copytree(bundle[0], directory)
    monkeypatch.setattr(bundling, "_write_networks", _fail)
    with pytest.raises(RuntimeError, match="the power went"):
        write_bundle(aware_model, directory, info, images[0], overwrite=True)
    assert {path.name for path in directory.iterdir()} == {*NETWORKS, *OTHERS}
    monkeypatch.setattr(bundling, "_write_networks", _copy_networks(bundle[0]))
    (directory / "stale.txt").write_text("of the old bundle")
    write_bundle(aware_model, directory, info, images[1], overwrite=True)
    assert {path.name for path in directory.iterdir()} == {*NETWORKS, *OTHERS}
    np.testing.assert_array_equal(np.asarray(Image.open(directory / "golden_input.png")), images[1])
    assert not [path for path in tmp_path.iterdir() if path != directory]


def _fail(*args):
    raise RuntimeError("the power went")


def _copy_networks(source):
    def copy(model, directory, info, num_threads):
        for name in NETWORKS:
            shutil.copy(source / name, directory / name)
        return dict.fromkeys(NETWORKS, "as before"), {}

    return copy
