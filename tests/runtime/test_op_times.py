"""Ops cut out of a network: each gives alone what it gives inside."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfsegkd._keras import keras
from tfsegkd.runtime import op_times, profile
from tfsegkd.runtime.op_times import ops_alone


def interpreter(content):
    """One without a delegate, whose tensors can all be read."""
    made = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    made.allocate_tensors()
    return made


def of_others(float_model, kind):
    """What the converter makes by itself: batches of any size, or weights behind the network."""
    if kind == "open":
        image = keras.Input((24, 24, 3))
        # Dilation becomes SPACE_TO_BATCH_ND, whose shapes nobody knows before it runs.
        float_model = keras.Model(image, keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same")(image))
    converter = tf.lite.TFLiteConverter.from_keras_model(float_model)
    converter._experimental_use_buffer_offset = kind == "behind"
    return converter.convert()


@pytest.mark.parametrize("kind", ["int8", "float", "float_io", "open", "behind"])
def test_an_op_alone_computes_what_it_computes_inside(files, float_model, kind):
    content = files[kind].read_bytes() if kind in files else of_others(float_model, kind)
    whole = interpreter(content)
    (end,) = whole.get_input_details()
    pixels = np.random.default_rng(0).integers(0, 256, end["shape"])
    whole.set_tensor(end["index"], pixels.astype(end["dtype"]))
    whole.invoke()
    inside = {tensor["name"]: whole.get_tensor(tensor["index"]) for tensor in whole.get_tensor_details()}
    parts = list(ops_alone(content))
    assert len(parts) == sum(profile(content).ops.values())
    for name, part in parts:
        alone = interpreter(part)
        for given in alone.get_input_details():
            alone.set_tensor(given["index"], inside[given["name"]])
        alone.invoke()
        (made,) = alone.get_output_details()
        assert name.endswith(made["name"])
        np.testing.assert_array_equal(alone.get_tensor(made["index"]), inside[made["name"]], name)


def test_every_op_is_timed_under_its_name(files, tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(files["int8"].read_bytes())
    found = op_times(path, runs=3)
    kinds = [one.op.split()[0] for one in found]
    assert {kind: kinds.count(kind) for kind in kinds} == profile(path).ops
    assert all(one.median_ms > 0 for one in found)
    assert any(one.op.startswith("CONV_2D") and "conv1" in one.op for one in found)


def test_what_is_no_network_is_refused(tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(b"TFL3 no network")
    with pytest.raises(ValueError, match="LiteRT cannot load"):
        op_times(path)
