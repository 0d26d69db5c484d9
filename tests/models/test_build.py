"""Networks by their names and specs, at other sizes, and what is refused."""

import importlib

import numpy as np
import pytest
import tensorflow as tf
from model_battery import NUM_CLASSES, frames, shaken

from tfsegkd import models, quantization
from tfsegkd._keras import keras


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model = shaken(models.build("unet(width=4)", NUM_CLASSES, (32, 48, 3)))
    path = tmp_path_factory.mktemp("trained") / "network.h5"
    model.save(path)
    return model, path


def test_at_its_own_size_a_network_is_itself(trained):
    model, _ = trained
    assert models.at_size(model, (32, 48)) is model


def test_at_size_refuses_a_network_tied_to_its_size():
    inputs = keras.Input((4, 6, 3))
    x = keras.layers.Flatten()(inputs)
    tied = keras.Model(inputs, keras.layers.Dense(2)(x), name="tied")
    with pytest.raises(ValueError, match=r"'tied' cannot take images of \(8, 6\).*\(72, 2\).*\(144, 2\)"):
        models.at_size(tied, (8, 6))


@pytest.mark.parametrize(
    ("spec", "shape"), [("mobile_unet(width_multiplier=0.5)", (1, 1, 3)), ("unet(width=4)", (7, 30, 3))]
)
def test_tiny_images_work(spec, shape):
    model = models.build(spec, NUM_CLASSES, shape)
    assert model(frames(shape), training=False).shape == (2, *shape[:2], NUM_CLASSES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unett", r"Unknown model 'unett'\. Expected one of .*Did you mean 'unet'"),
        ("unet(depth=3)", r"Wrong arguments for model 'unet'.*\['width'\]"),
        ("unet(num_classes=3)", "Wrong arguments for model 'unet'"),
        ("unet(width=0)", "width must be a whole number from 1 up"),
        ("segnet(width=2.5)", "width must be a whole number from 1 up"),
        ("mobile_unet(width_multiplier=-1)", "width_multiplier must be a number above 0"),
        (
            "deeplab_v3_plus(backbone=resnet)",
            r"backbone must be one of \['efficientnet_lite0', 'efficientnet_lite1', 'effic",
        ),
        ("deeplab_v3_plus(weights=coco)", r"weights must be one of \['imagenet', None\]"),
        ("deeplab_v3(output_stride=4)", r"output_stride must be one of \[8, 16, 32\]"),
        ("pspnet(weights=imagenet)", r"weights of 'resnet50' come from a file.*load_torch_weights"),
        ("fcn(width_multiplier=0)", "width_multiplier must be a number above 0"),
        (
            "deeplab_v3_plus(weights=None, width_multiplier=0.5)",
            "width_multiplier must be 1.0 for backbone 'efficientnet_lite0'. Received: 0.5",
        ),
        ("segnet(unpooling=indices)", r"unpooling must be one of \['mask', 'upsample'\]"),
        ("enet(unpooling=indices)", r"unpooling must be one of \['mask', 'upsample'\]"),
        ("erfnet(block=dg3)", r"block must be one of \['erf', 'd', 'dg2'.*Received: 'dg3'"),
        ("erfnet(where=some)", r"where must be one of \['all', 'selective'\]"),
        ("erfnet(decoder=heavy)", r"decoder must be one of \['erfnet', 'light', 'none'\]"),
        ("erfnet(width_multiplier=0.1)", "width_multiplier must be a number from 0.25"),
        ("lraspp(size=medium)", r"size must be one of \['large', 'small'\]"),
    ],
)
def test_wrong_specs_list_the_choices(spec, message):
    # An option is named with its network: several are given in one command.
    message = message.replace(" must be", rf" of model '{spec.partition('(')[0]}' must be")
    with pytest.raises(ValueError, match=message):
        models.build(spec, NUM_CLASSES, (32, 32, 3))


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1), (0, 32, 3), (1, 32, 32, 3)])
def test_input_shapes_must_be_rgb(shape):
    with pytest.raises(ValueError, match=r"input_shape must be \(height, width, 3\)"):
        models.build("unet(width=4)", NUM_CLASSES, shape)


@pytest.mark.parametrize("num_classes", [0, 1, True, "many"])
def test_there_are_at_least_two_classes(num_classes):
    with pytest.raises(ValueError, match="num_classes must be a number from 2"):
        models.build("unet(width=4)", num_classes, (32, 32, 3))


def test_a_network_too_large_for_memory_says_which_weight():
    message = r"'unet\(width=3000000\)' does not fit into memory.*\[3,3,3000000,3000000\]"
    with pytest.raises(ValueError, match=message):
        models.build("unet(width=3000000)", NUM_CLASSES, (32, 32, 3))


def test_a_network_is_filled_from_a_file_of_the_same_at_another_size(trained):
    saved, path = trained
    model = models.build("unet(width=4)", NUM_CLASSES, (16, 16, 3), weights=path)
    assert model.input_shape == (None, 16, 16, 3)
    for old, new in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_of_another_network_are_refused(trained, tmp_path):
    _, path = trained
    message = r"another network than 'unet'.*for: classifier/bias:0, classifier/kernel:0\. Build it with"
    with pytest.raises(ValueError, match=message):
        models.build("unet(width=4)", NUM_CLASSES + 1, (16, 16, 3), weights=path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.build("unet(width=4)", NUM_CLASSES, (16, 16, 3), weights=tmp_path / "nowhere.pth")


def test_files_that_are_no_networks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No model at .*nowhere\.keras"):
        models.load(tmp_path / "nowhere.keras")
    for name in ("text.keras", "text.h5"):
        (tmp_path / name).write_text("not a network")
        with pytest.raises(ValueError, match=rf"Cannot read .*{name}' as a Keras model"):
            models.load(tmp_path / name)


def sizes(name, shape=(32, 48)):
    """Networks that know their size in ways of their own."""
    image = keras.Input((*shape, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")(image)
    if name == "sequential":
        layers = [keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv")]
        layers += [keras.layers.Conv2D(3, 1), keras.layers.UpSampling2D(2, interpolation="bilinear")]
        return keras.Sequential([keras.Input((*shape, 3)), *layers])
    if name == "pooled":
        pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        pooled = keras.layers.UpSampling2D((shape[0] // 2, shape[1] // 2))(pooled)
        x = keras.layers.Concatenate()([x, pooled])
    x = keras.layers.Conv2D(3, 1, name="head")(x)
    if name == "operation":
        return keras.Model(image, tf.image.resize(x, shape))
    return keras.Model(image, keras.layers.Resizing(*shape)(x))


@pytest.mark.parametrize("name", ["resizing", "pooled", "sequential"])
def test_fixed_sizes_go_with_the_input(name):
    model = sizes(name)
    larger = models.at_size(model, (64, 72))
    assert larger.output_shape == (None, 64, 72, 3)
    # As if it had been built at that size.
    built = sizes(name, (64, 72))
    built.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 72, 3)).astype("float32")
    np.testing.assert_allclose(larger(images), built(images), rtol=1e-5, atol=1e-4)
    images = images[:, :32, :48]
    np.testing.assert_array_equal(models.at_size(larger, (32, 48))(images), model(images))


def test_sizes_that_do_not_go_with_the_input_are_refused():
    with pytest.raises(ValueError, match=r"its output is \(32, 48\) and not \(64, 72\).*adopt\(model\)"):
        models.at_size(sizes("operation"), (64, 72))
    image = keras.Input((32, 48, 3))
    half = keras.layers.Resizing(16, 24, name="half")(image)
    with pytest.raises(ValueError, match=r"layer 'half' resizes to \(16, 24\)"):
        models.at_size(keras.Model(image, keras.layers.Conv2D(3, 1)(half)), (33, 48))


@pytest.mark.parametrize("name", ["resizing", "sequential"])
def test_quantize_takes_what_at_size_gives_and_the_other_way_round(name):
    model = sizes(name)
    batches = [np.random.default_rng(0).uniform(0, 255, (2, 64, 72, 3)).astype("float32")]
    quantized = quantization.quantize(models.at_size(model, (64, 72)), calibration=batches)
    assert quantized.output_shape == (None, 64, 72, 3)
    smaller = quantization.quantize(model, calibration=[batch[:, :32, :48] for batch in batches])
    if name == "sequential":  # a Resizing inside is of fixed size by then
        larger = models.at_size(smaller, (64, 72))
        quantization.qat.check_observed(larger)
        difference = np.abs(larger(batches[0]) - quantized(batches[0])).mean()
        assert difference < 0.1 * np.abs(quantized(batches[0])).mean()
    else:
        with pytest.raises(ValueError, match="before it is quantized"):
            models.at_size(smaller, (64, 72))


def test_builders_are_functions_whatever_is_imported():
    importlib.import_module("tfsegkd.models.zoo.unet")
    for name in models.names():
        assert callable(getattr(models, name)) and name in models.__all__, name
    built = models.unet(num_classes=3, input_shape=(32, 48, 3), width=2)
    named = models.build("unet(width=2)", 3, (32, 48, 3))
    assert built.get_config() == named.get_config()
