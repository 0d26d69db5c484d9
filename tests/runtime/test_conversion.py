"""Conversion, checked with LiteRT's own interpreter and with the Keras network."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfsegkd._keras import keras, tfmot
from tfsegkd.runtime import convert, is_quantization_aware


def ends(path):
    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_input_details()[0], interpreter.get_output_details()[0]


@pytest.mark.parametrize(
    ("name", "input_type", "output_type"),
    [("int8", np.uint8, np.int8), ("float_io", np.float32, np.float32), ("float", np.float32, np.float32)],
)
def test_ends_have_the_asked_types_and_a_fixed_size(files, name, input_type, output_type):
    into, out = ends(files[name])
    assert (into["dtype"], out["dtype"]) == (input_type, output_type)
    # The signature shows -1 where a size was left open.
    assert into["shape_signature"].tolist() == [1, 32, 48, 3]
    assert out["shape_signature"].tolist() == [1, 32, 48, 5]


def test_uint8_input_is_the_raw_pixel(files):
    assert ends(files["int8"])[0]["quantization"] == (1.0, 0)


def test_quantized_weights_are_one_byte(files):
    def weight_types(path):
        details = Interpreter(model_path=str(path)).get_tensor_details()
        return {tensor["dtype"] for tensor in details if tuple(tensor["shape"]) == (8, 3, 3, 8)}

    assert weight_types(files["int8"]) == {np.int8}
    assert weight_types(files["float_io"]) == {np.int8}
    assert weight_types(files["float"]) == {np.float32}


def test_same_model_gives_same_bytes(files, aware_model):
    assert convert(aware_model) == files["int8"].read_bytes()


def test_float_network_becomes_int8_with_calibration(float_model, images):
    # A black and a white image, so that the observed range of the pixels is all of 0…255.
    extremes = np.stack([np.zeros((32, 48, 3)), np.full((32, 48, 3), 255)])
    content = convert(float_model, calibration=[images, extremes])
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8
    assert {type_ for op in interpreter._get_ops_details() for type_ in op["result_types"]} <= {
        np.int8,
        np.uint8,
        np.int32,
    }


def test_input_that_is_not_the_raw_pixel_is_refused():
    model = keras.Sequential([keras.layers.InputLayer((32, 48, 3)), keras.layers.Conv2D(2, 1)])
    aware = tfmot.quantization.keras.quantize_model(model)
    for variable, limit in zip(aware.layers[0].weights[:2], (0.0, 254.0), strict=True):
        variable.assign(limit)
    with pytest.raises(ValueError, match=r"scale 0\.9960.*fixes the input's range to 0…255"):
        convert(aware)


def test_op_that_tflite_lacks_is_named_in_one_line():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Lambda(lambda x: tf.math.betainc(x, x, x))(image), name="odd")
    with pytest.raises(ValueError, match=r"'odd'.*'tf\.Betainc'") as raised:
        convert(model, inputs="float32", outputs="float32")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "int8"}, r"inputs must be one of \['uint8', 'float32'\]. Received: 'int8'"),
        ({"outputs": "uint8"}, r"outputs must be one of \['int8', 'float32'\]"),
        ({}, "Set both to 'float32'"),
        ({"quantized": True}, "calibration"),
        ({"calibration": np.zeros((1, 8, 8, 3))}, r"\(N, 32, 48, 3\).*Received: \(1, 8, 8, 3\)"),
        ({"calibration": np.full((1, 32, 48, 3), 0.5)}, "pixels in 0…255"),
        ({"calibration": []}, "at least one image"),
        ({"calibration": np.zeros((1, 32, 48, 3)), "quantized": False}, "quantized=False"),
    ],
)
def test_contradictions_are_refused_before_any_work(float_model, options, message):
    with pytest.raises(ValueError, match=message):
        convert(float_model, **options)


def test_aware_network_does_not_become_float(aware_model):
    with pytest.raises(ValueError, match="quantized=False"):
        convert(aware_model, quantized=False, inputs="float32", outputs="float32")


def test_open_size_is_refused():
    model = keras.Sequential([keras.layers.InputLayer((None, None, 3)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="fixed height and width"):
        convert(model, inputs="float32", outputs="float32")


def test_is_quantization_aware(float_model, aware_model):
    assert is_quantization_aware(aware_model)
    assert not is_quantization_aware(float_model)
