"""Forms that take an Arm core fewer instructions compute what the file computed before."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import export
from tfsegkd._keras import keras
from tfsegkd.export import export_tflite, lowering
from tfsegkd.export.lowering import CHANGES, lower_for_arm
from tfsegkd.export.output_variants import without_last_resize
from tfsegkd.layers import CropLike, ResizeLike
from tfsegkd.models import blocks
from tfsegkd.quantization import quantize
from tfsegkd.runtime import Network, convert, profile
from tfsegkd.runtime.model_file import Editor

HEIGHT, WIDTH = 32, 44
UNEVEN = 30  # padded to a multiple of the stride: the border is the mean


def smooth(count, seed=0, height=HEIGHT):
    noise = np.random.default_rng(seed).uniform(0, 255, (count, 5, 7, 3))
    return tf.image.resize(noise, (height, WIDTH)).numpy().clip(0, 255).astype(np.uint8)


def network(mean, std, context=False, height=HEIGHT):
    """Pixels normalized, padded, convolutions, and logits enlarged by 4 and cropped."""
    layers = keras.layers
    keras.utils.set_random_seed(5)
    inputs, x = blocks.pixels((height, WIDTH, 3), mean, std, stride=4)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="second")(x)
    if context:
        everywhere = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
        everywhere = ResizeLike(name="resize")([everywhere, x])
        x = layers.Add(name="add")([x, everywhere])
    x = layers.Conv2D(5, 1, name="classifier")(x)
    x = layers.UpSampling2D(4, interpolation="bilinear", name="enlarge")(x)
    if height % 4:
        x = CropLike(name="crop")([x, inputs])
    return keras.Model(inputs, x, name="small")


@pytest.fixture(scope="module")
def contents():
    """A function that makes the int8 file of a network, once for each."""
    made = {}

    def make(mean=127.5, std=127.5, context=False, inputs="uint8", height=HEIGHT):
        key = (str(mean), str(std), context, inputs, height)
        if key not in made:
            aware = quantize(network(mean, std, context, height), calibration=[smooth(8, height=height)])
            made[key] = convert(aware, inputs, "int8" if inputs == "uint8" else "float32")
        return made[key]

    return make


def up_to(content, layer):
    """The network up to the first operator whose output has this name."""
    editor = Editor(content)
    place = next(n for n, one in enumerate(editor.operators) if layer in editor.name(int(one.outputs[0])))
    editor.graph.operators = editor.operators[: place + 1]
    editor.set_output(int(editor.operators[-1].outputs[0]))
    editor.drop_unused()
    return editor.pack()


def kinds(content):
    editor = Editor(content)
    return [editor.kind(one) for one in editor.operators]


def steps(content, other, images):
    """The largest difference of two files, in steps of the first one's output."""
    one = Network(content)
    return np.abs(one.predict(images) - Network(other).predict(images)).max() / one.output_quantization[0]


@pytest.mark.parametrize(("mean", "std", "most"), [(127.5, 127.5, 2), (127.0, 128.0, 1), (100.0, 50.0, 1)])
def test_the_normalization_becomes_part_of_the_stem(contents, mean, std, most):
    content = contents(mean, std, height=UNEVEN)
    assert "PAD" in kinds(content)
    folded, changes = lower_for_arm(content, ["fold_normalization"])
    assert changes == ("fold_normalization",)
    assert kinds(content).count("DEPTHWISE_CONV_2D") == 1 and "DEPTHWISE_CONV_2D" not in kinds(folded)
    images = smooth(3, seed=1, height=UNEVEN)
    # At the borders as elsewhere. A mean between two pixel values had them rounded by half of one.
    assert steps(up_to(content, "relu"), up_to(folded, "relu"), images) <= most + 0.01
    # Raw pixels go in as before, and what they stand for is their distance from the mean.
    scale, zero_point = Network(folded).input_quantization
    assert scale == 1.0 and abs(zero_point - mean) <= 0.5
    assert profile(folded).delegate_partitions == 1


def test_a_channel_of_hardly_any_weight_keeps_the_sign_of_its_bias():
    """Its scale is so small that the bias does not fit into int32, and is cut off at its end."""
    model = network(127.0, 128.0)
    kernel, bias = model.get_layer("stem").get_weights()
    kernel[..., 0], bias[0] = 1e-9, 3.0
    model.get_layer("stem").set_weights([kernel, bias])
    content = convert(quantize(model, calibration=[smooth(8)]), "uint8", "int8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded, changes = lower_for_arm(content, ["fold_normalization"])
    assert changes == ("fold_normalization",)
    editor = Editor(folded)
    stem = next(one for one in editor.operators if editor.kind(one) == "CONV_2D")
    assert editor.values(int(stem.inputs[2]))[0] > 0
    assert steps(content, folded, smooth(4, seed=1)) <= 2


def test_the_folded_stem_is_nearer_to_the_float_network(contents):
    model, images = network(127.5, 127.5), smooth(3, seed=1)
    exact = keras.Model(model.input, model.get_layer("relu").output)(images.astype(np.float32)).numpy()
    content = contents()
    before, after = (
        np.abs(Network(up_to(one, "relu")).predict(images) - exact).mean()
        for one in (content, lower_for_arm(content, ["fold_normalization"])[0])
    )
    assert after < before


@pytest.mark.parametrize(
    ("mean", "std", "inputs"),
    [
        # Each channel its own mean: the padding would be another color.
        ((123.7, 116.3, 103.5), 57.0, "uint8"),
        # Each channel its own deviation: the kernel's integers would be others.
        (127.5, (58.4, 57.1, 57.4), "uint8"),
        # Nothing subtracts the mean from floats.
        (127.5, 127.5, "float32"),
    ],
)
def test_elsewhere_the_normalization_stays_and_works_on_whole_rows(contents, mean, std, inputs):
    content = contents(mean, std, inputs=inputs)
    assert lower_for_arm(content, ["fold_normalization"]) == (content, ())
    wide, changes = lower_for_arm(content, ["widen_normalization"])
    assert changes == ("widen_normalization",)
    editor = Editor(wide)
    (layer,) = editor.find("DEPTHWISE_CONV_2D")
    assert editor.shape(int(layer.inputs[0])) == (1, HEIGHT, 1, 3 * WIDTH)
    images = smooth(3, seed=1)
    np.testing.assert_array_equal(Network(wide).predict(images), Network(content).predict(images))
    assert profile(wide).delegate_partitions == 1


def test_an_image_takes_one_position_without_a_copy(contents):
    content = contents(context=True)
    lowered, changes = lower_for_arm(content, ["add_without_enlarging"])
    assert changes == ("add_without_enlarging",)
    assert kinds(content).count("RESIZE_BILINEAR") == 2 and kinds(lowered).count("RESIZE_BILINEAR") == 1
    images = smooth(3, seed=1)
    np.testing.assert_array_equal(Network(lowered).predict(images), Network(content).predict(images))


@pytest.mark.parametrize("inputs", ["uint8", "float32"])
def test_a_convolution_enlarges_as_an_interpolation_does(contents, inputs):
    content = contents(inputs=inputs)
    lowered, changes = lower_for_arm(content, ["enlarge_in_two_steps", "enlarge_columns_by_convolution"])
    assert changes == ("enlarge_in_two_steps", "enlarge_columns_by_convolution")
    assert kinds(lowered).count("RESIZE_BILINEAR") == 1
    images, step = smooth(3, seed=1), Network(contents()).output_quantization[0]
    small = Network(without_last_resize(contents())[0]).predict(images)
    exact = tf.image.resize(small, (HEIGHT, WIDTH)).numpy()
    # Rounded once along the rows and once down the columns, at the borders as elsewhere.
    assert np.abs(Network(lowered).predict(images) - exact).max() <= 1.01 * step
    assert profile(lowered).delegate_partitions == 1


def test_a_convolution_does_not_enlarge_many_channels(contents, monkeypatch):
    content = lower_for_arm(contents(), ["enlarge_in_two_steps"])[0]
    monkeypatch.setattr(lowering, "_FEW_CHANNELS", 4)
    assert lower_for_arm(content, ["enlarge_columns_by_convolution"]) == (content, ())


@pytest.mark.parametrize(
    ("inputs", "height"),
    [("uint8", HEIGHT), ("float32", HEIGHT), ("uint8", UNEVEN), ("float32", UNEVEN)],
)
def test_two_steps_enlarge_as_one(contents, inputs, height):
    content = contents(inputs=inputs, height=height)
    lowered, changes = lower_for_arm(content, ["enlarge_in_two_steps"])
    assert changes == ("enlarge_in_two_steps",) and kinds(lowered).count("RESIZE_BILINEAR") == 2
    images, step = smooth(3, 1, height), Network(contents(height=height)).output_quantization[0]
    difference = np.abs(Network(content).predict(images) - Network(lowered).predict(images)).max()
    assert 0 < difference <= 1.01 * step
    assert profile(lowered).delegate_partitions == 1


@pytest.mark.parametrize(
    "changes", [["enlarge_in_two_steps"], ["enlarge_in_two_steps", "enlarge_columns_by_convolution"]]
)
def test_smaller_logits_come_from_any_form(contents, changes):
    content = contents()
    lowered = lower_for_arm(content, changes)[0]
    images = smooth(3, seed=1)
    (one, stride), (other, same) = without_last_resize(content), without_last_resize(lowered)
    assert stride == same == 4 and kinds(one) == kinds(other)
    np.testing.assert_array_equal(Network(one).predict(images), Network(other).predict(images))


def test_all_changes_together_leave_one_partition_and_the_classes(contents):
    content = contents(context=True)
    lowered, changes = lower_for_arm(content)
    assert changes == tuple(name for name in CHANGES if name != "widen_normalization")
    assert lower_for_arm(lowered) == (lowered, ())
    images = smooth(8, seed=1)
    before, after = (Network(one).predict(images).argmax(-1) for one in (content, lowered))
    assert (before == after).mean() > 0.97
    assert profile(lowered).delegate_partitions == 1 and profile(lowered).float_ops == []


def test_logits_of_another_stride_are_refused_before_training():
    model = network(127.5, 127.5)
    export.check_output_stride(model, 1)
    export.check_output_stride(model, 4)
    with pytest.raises(ValueError, match=r"'small'.*`output_stride=8`.*one by 4"):
        export.check_output_stride(model, 8)


def test_the_export_writes_the_cheaper_forms_and_smaller_logits(tmp_path):
    aware = quantize(network(127.5, 127.5), calibration=[smooth(8)])
    whole = export_tflite(aware, tmp_path / "whole.tflite")
    enlarged = ("enlarge_in_two_steps", "enlarge_columns_by_convolution")
    assert whole.lowered == ("fold_normalization", *enlarged)
    small = export_tflite(aware, tmp_path / "small.tflite", output_stride=4)
    assert small.lowered == ("fold_normalization",)
    assert Network(small.path).output_shape == (8, 11, 5)
    with pytest.raises(ValueError, match=r"output_stride=2.*one by 4.*1 or 4"):
        export_tflite(aware, tmp_path / "none.tflite", output_stride=2)
    assert not (tmp_path / "none.tflite").exists()
    with pytest.raises(ValueError, match="output_stride must be a whole number"):
        export_tflite(aware, tmp_path / "none.tflite", output_stride=0)
