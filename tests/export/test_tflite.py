"""The exported file, checked with LiteRT and with the Keras network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tfsegkd import runtime
from tfsegkd._keras import keras
from tfsegkd.export import export_tflite, read_labels
from tfsegkd.grouping import FORMS


def test_report_says_what_the_file_is(exported):
    path, report = exported
    assert report.path == str(path)
    assert report.file_bytes == path.stat().st_size
    assert (report.inputs, report.outputs) == ("uint8", "int8")
    assert report.float_ops == []
    assert report.delegate_partitions == 1
    assert report.latency_ms > 0
    assert report.latency_runs >= 50
    assert json.loads(report.to_json())["delegate_partitions"] == 1


def test_int8_file_takes_raw_pixels(exported):
    interpreter = Interpreter(model_path=str(exported[0]))
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert (into["dtype"], into["quantization"]) == (np.uint8, (1.0, 0))
    assert out["dtype"] == np.int8


def test_float_io_file_has_an_int8_body(exported, exported_float_io, images):
    path, report = exported_float_io
    assert (report.inputs, report.outputs) == ("float32", "float32")
    assert report.float_ops == []
    np.testing.assert_allclose(
        runtime.Network(path).predict(images), runtime.Network(exported[0]).predict(images), atol=1e-5
    )


def test_float_network_exports_as_float(float_model, images, tmp_path):
    report = export_tflite(float_model, tmp_path / "new" / "float.tflite", "float32", "float32")
    assert report.float_ops
    expected = float_model(images.astype(np.float32), training=False)
    np.testing.assert_allclose(runtime.Network(report.path).predict(images), expected, rtol=1e-3, atol=1e-3)


def test_labels_are_inside(exported, info):
    assert read_labels(exported[0]) == info.class_names


def test_existing_file_is_kept_unless_asked(aware_model, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "convert", lambda *args, **kwargs: converted)
    path = tmp_path / "taken.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"taken\.tflite.*overwrite=True"):
        export_tflite(aware_model, path)
    assert path.read_bytes() == b"precious"
    export_tflite(aware_model, path, overwrite=True)
    assert runtime.Network(path).num_classes == 5
    assert [file.name for file in tmp_path.iterdir()] == ["taken.tflite"]


def test_failure_leaves_nothing_behind(aware_model, converted, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the power went")

    monkeypatch.setattr(runtime, "convert", lambda *args, **kwargs: converted)
    monkeypatch.setattr(runtime, "latency", fail)
    path = tmp_path / "kept.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="the power went"):
        export_tflite(aware_model, path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.tflite"]
    assert path.read_bytes() == b"precious"


def test_directory_is_refused(aware_model, tmp_path):
    with pytest.raises(ValueError, match="must name a file"):
        export_tflite(aware_model, tmp_path)


def test_float_ops_in_an_int8_network_are_an_error_that_names_them(
    aware_model, converted, tmp_path, monkeypatch
):
    found = runtime.OpReport({"TRANSPOSE_CONV": 1}, ["TRANSPOSE_CONV tiny/deconv"], 3, [], 0)
    monkeypatch.setattr(runtime, "convert", lambda *args, **kwargs: converted)
    monkeypatch.setattr(runtime, "profile", lambda content: found)
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=r"TRANSPOSE_CONV tiny/deconv.*allow_float=True"):
        export_tflite(aware_model, path)
    assert not path.exists()
    report = export_tflite(aware_model, path, allow_float=True)
    assert report.float_ops == ["TRANSPOSE_CONV tiny/deconv"]
    assert report.delegate_partitions == 3


def test_wrong_number_of_class_names_is_refused(aware_model, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "convert", lambda *args, **kwargs: converted)
    with pytest.raises(ValueError, match="has 5 classes, and there are 2 class names"):
        export_tflite(aware_model, tmp_path / "a.tflite", metadata=SimpleNamespace(class_names=("a", "b")))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def grouped_model():
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(8, 3, padding="same", groups=4, name="in_groups")(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(("form", "convolutions"), [("grouped", 2), ("split", 5), ("dense", 2)])
def test_grouped_convolutions_run_in_the_form_asked_for(grouped_model, tmp_path, form, convolutions):
    path = tmp_path / "model.tflite"
    report = export_tflite(grouped_model, path, "float32", "float32", grouped=form)
    assert [(layer.groups, layer.form, layer.milliseconds) for layer in report.grouped.layers] == [
        (4, form, {})
    ]
    ops = runtime.profile(path).ops
    assert ops["CONV_2D"] == convolutions and ("SPLIT" in ops) == (form == "split")
    shapes = {tuple(found["shape"]) for found in Interpreter(model_path=str(path)).get_tensor_details()}
    assert ((8, 3, 3, 8) in shapes) == (form == "dense")
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(runtime.Network(path).predict(x), grouped_model(x), rtol=1e-3, atol=1e-3)


def test_the_fastest_form_is_measured_if_asked(grouped_model, tmp_path):
    report = export_tflite(grouped_model, tmp_path / "model.tflite", "float32", "float32", grouped="measured")
    (layer,) = report.grouped.layers
    assert set(layer.milliseconds) == set(FORMS)
    assert layer.form == min(layer.milliseconds, key=layer.milliseconds.get)
    assert json.loads(report.to_json())["grouped"]["layers"][0]["form"] == layer.form
    with pytest.raises(ValueError, match="grouped must be one of"):
        export_tflite(grouped_model, tmp_path / "other.tflite", "float32", "float32", grouped="fast")
