"""Networks of one channel, of grey images, of half precision, of several outputs, or that crop, adopted."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras, keras3
from tfsegkd.graph import check_images, rebuild

BOTH = pytest.mark.parametrize("k", [keras, keras3], ids=["tf_keras", "keras 3"])
SHAPE = (16, 24, 3)


def images(count=2, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.float32)


def head(k, last, shape=SHAPE):
    """A network that ends in `last(x)`."""
    k.utils.set_random_seed(1)
    inputs = k.Input(shape)
    x = k.layers.Conv2D(4, 3, padding="same", activation="relu")(k.layers.Rescaling(1 / 255)(inputs))
    return k.Model(inputs, last(k.layers, x), name="net")


ONE_CHANNEL = {
    "convolution": lambda L, x: L.Conv2D(1, 3, padding="same", bias_initializer="ones", name="end")(x),
    "sigmoid inside": lambda L, x: L.Conv2D(1, 1, activation="sigmoid", name="end")(x),
    "transposed": lambda L, x: L.Activation("sigmoid")(
        L.Conv2DTranspose(1, 2, strides=2, use_bias=False, name="end")(L.MaxPooling2D(2)(x))
    ),
    "separable": lambda L, x: L.Activation("sigmoid")(L.SeparableConv2D(1, 3, padding="same", name="end")(x)),
    "dense, resized": lambda L, x: L.UpSampling2D(2, interpolation="bilinear")(
        L.Dense(1, name="end")(L.MaxPooling2D(2)(x))
    ),
    "product": lambda L, x: L.Multiply()([L.Conv2D(1, 1)(x), L.Conv2D(1, 3, padding="same")(x)]),
}


@BOTH
@pytest.mark.parametrize("kind", ONE_CHANNEL)
def test_one_channel_becomes_two_with_the_same_probability(k, kind):
    model = head(k, ONE_CHANNEL[kind])
    network, report = models.adopt(model)
    own, ours = np.asarray(model(images())), network(images()).numpy()
    assert report.num_classes == ours.shape[-1] == 2 and len(report.added) == 1
    logit = ours[..., 1] - ours[..., 0]
    if "sigmoid" in kind or kind in ("transposed", "separable"):
        own, logit = own[..., 0], 1 / (1 + np.exp(-logit))
    else:
        own = own[..., 0]
    np.testing.assert_allclose(logit, own, atol=1e-5)


@BOTH
@pytest.mark.parametrize("kind", [kind for kind in ONE_CHANNEL if kind != "product"])
def test_two_logits_go_back_into_one_channel(k, kind):
    model = head(k, ONE_CHANNEL[kind])
    adoption = models.Adoption(model)
    random = np.random.default_rng(3)
    end = adoption.model.get_layer("end")
    end.set_weights([w + random.normal(0, 1, w.shape).astype(np.float32) for w in end.get_weights()])
    adoption.write_back()
    logits = adoption.model(images()).numpy()
    logit, own = logits[..., 1] - logits[..., 0], np.asarray(model(images()))[..., 0]
    if "sigmoid" in kind or kind in ("transposed", "separable"):
        logit = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(logit, own, atol=2e-5)


@BOTH
def test_sigmoids_of_several_classes_are_left_out_and_said(k):
    model = head(k, lambda L, x: L.Conv2D(3, 1, activation="sigmoid")(x))
    network, report = models.adopt(model)
    assert (network(images()).numpy().argmax(-1) == np.asarray(model(images())).argmax(-1)).all()
    assert "exclude each other" in report.removed[0]


@BOTH
def test_grey_images_are_the_luminance_of_those_in_color(k):
    model = head(k, lambda L, x: L.Conv2D(3, 1)(x), (*SHAPE[:2], 1))
    network, report = models.adopt(model)
    check_images(network, "It")
    assert "luminance" in report.added[0]
    grey = (images() @ np.array([299, 587, 114]) / 1000).astype(np.float32)[..., None]
    np.testing.assert_allclose(network(images()), model(grey), atol=1e-4)
    scaled, _ = models.adopt(model, pixel_range=(0, 1))
    np.testing.assert_allclose(scaled(images()), model(grey / 255), atol=1e-4)


@BOTH
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_becomes_float32_with_the_same_weights(k, policy):
    k.mixed_precision.set_global_policy(policy) if k is keras else k.config.set_dtype_policy(policy)
    try:
        half = head(k, lambda L, x: L.Activation("softmax", dtype="float32")(L.Conv2D(3, 1)(x)))
    finally:
        k.mixed_precision.set_global_policy("float32") if k is keras else k.config.set_dtype_policy("float32")
    whole = head(k, lambda L, x: L.Conv2D(3, 1)(x))
    whole.set_weights(half.get_weights())
    network, report = models.adopt(half)
    assert all(layer.compute_dtype == "float32" for layer in network.layers)
    assert any("half precision" in line for line in report.removed)
    # The constant 1/255 of its Rescaling was rounded to half precision before anybody saw it.
    np.testing.assert_allclose(network(images()), whole(images()), rtol=5e-3, atol=1e-4)


def ones(L, size, **options):
    return L.Conv2D(2, size, kernel_initializer="ones", **options)


CROPPED = {
    "two 5×5": lambda L, x: ones(L, 5)(ones(L, 5)(x)),
    "dilated": lambda L, x: ones(L, 3, dilation_rate=3)(x),
    "cropped on one side": lambda L, x: L.Cropping2D(((3, 0), (0, 5)))(x),
    "down and up": lambda L, x: L.Conv2DTranspose(2, 2, strides=2, kernel_initializer="ones")(
        ones(L, 3)(L.AveragePooling2D(2)(ones(L, 3)(x)))
    ),
}


@BOTH
@pytest.mark.parametrize("kind", CROPPED)
def test_what_crops_keeps_its_place(k, kind):
    """A bright dot moves the outputs around it: their center of mass says where it is seen."""
    shape = (30, 44, 3)
    inputs = k.Input(shape)
    model = k.Model(inputs, CROPPED[kind](k.layers, inputs))
    network, report = models.adopt(model)
    assert network.output_shape[1:3] == shape[:2]
    assert any("ZeroPadding2D" in line for line in report.added)
    for row, column in ((14, 18), (17, 27)):
        dotted = np.zeros((1, *shape), np.float32)
        dotted[0, row, column] = 100
        seen = np.abs(network(dotted).numpy()[0] - network(0 * dotted).numpy()[0]).sum(-1)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        assert (seen * rows).sum() / seen.sum() == pytest.approx(row, abs=1)
        assert (seen * columns).sum() / seen.sum() == pytest.approx(column, abs=1)


@BOTH
def test_a_coarse_output_is_still_enlarged(k):
    model = head(k, lambda L, x: L.Conv2D(3, 3, strides=4, padding="same")(x))
    _, report = models.adopt(model)
    assert report.added == ("UpSampling2D 'enlarge' from (4, 6) to (16, 24)",)


def test_of_an_unknown_output_the_choices_are_named():
    inputs = keras.Input(SHAPE)
    one, two = (keras.layers.Conv2D(2, 1, name=name)(inputs) for name in ("main", "aux"))
    model = keras.Model(inputs, [one, two])
    with pytest.raises(ValueError, match=r"\['main', 'aux'\].*output="):
        models.adopt(model)
    with pytest.raises(ValueError, match="'main'"):
        models.adopt(model, output="mian")


def open_unet(k):
    """Of open size, three times halved: its skips fit for multiples of 8."""
    x = inputs = k.Input((None, None, 3))
    skips = []
    for _ in range(3):
        x = k.layers.Conv2D(2, 3, padding="same")(x)
        skips.append(x)
        x = k.layers.MaxPooling2D(2)(x)
    for skip in reversed(skips):
        x = k.layers.Concatenate()([k.layers.UpSampling2D(2)(x), skip])
    return k.Model(inputs, k.layers.Conv2D(2, 1)(x))


@BOTH
def test_a_size_that_does_not_divide_is_refused_with_those_that_do(k):
    model = open_unet(k)
    with pytest.raises(ValueError, match=r"\(20, 36\).*multiples of 8, such as \(16, 32\) and \(24, 40\)"):
        models.adopt(model, input_shape=(20, 36))
    assert models.adopt(model, input_shape=(24, 40))[0].output_shape == (None, 24, 40, 2)


def test_at_size_names_the_sizes_that_fit():
    with pytest.raises(ValueError, match=r"\(50, 64\).*multiples of 8, such as \(48, 64\)"):
        models.at_size(open_unet(keras), (50, 64))


FLAT = {
    "softmax behind": lambda L, x: L.Softmax()(L.Reshape((-1, 3))(x)),
    "softmax before": lambda L, x: L.Reshape((-1, 3))(L.Softmax()(x)),
    "logits": lambda L, x: L.Reshape((-1, 3))(x),
}


@BOTH
@pytest.mark.parametrize("kind", FLAT)
def test_pixels_in_a_row_come_back_into_rows_and_columns(k, kind):
    model = head(k, lambda L, x: FLAT[kind](L, L.Conv2D(3, 1, name="end")(x)))
    network, report = models.adopt(model)
    assert network.output_shape == (None, *SHAPE[:2], 3)
    before = k.Model(model.inputs, model.get_layer("end").output)
    np.testing.assert_allclose(network(images()), before(images()), atol=1e-5)
    assert any("(N, H·W, C)" in line for line in report.removed)


@BOTH
def test_numbers_of_classes_are_refused_with_the_layer_before_which_to_cut(k):
    if k is keras3:
        model = head(k, lambda L, x: k.ops.argmax(L.Conv2D(3, 1)(x), -1))
    else:
        model = head(k, lambda L, x: tf.argmax(L.Conv2D(3, 1)(x), -1))
    with pytest.raises(ValueError, match=r"(?i)int.*\(None, 16, 24\).*argmax.*keras.Model"):
        models.adopt(model)


def own_call(k):
    """A network whose `call` is its own, as it is when nobody has called it."""

    class Own(k.Model):
        def __init__(self):
            super().__init__(name="own")
            self.first = k.layers.Conv2D(4, 3, padding="same", activation="silu", name="first")
            self.last = k.layers.Conv2D(3, 1, name="last")

        def call(self, pixels, training=None):
            x = self.first(pixels / 255.0)
            return self.last(x + x)

    return Own()


@BOTH
def test_a_network_without_inputs_is_adopted_at_a_size(k):
    model = own_call(k)
    with pytest.raises(TypeError, match=r"'own'.*\(1, 16, 24, 3\)"):
        models.adopt(model, input_shape=SHAPE[:2])
    expected = np.asarray(model(images()))
    with pytest.raises(TypeError, match="input_shape="):
        models.adopt(model)
    adoption = models.Adoption(model, input_shape=SHAPE[:2])
    np.testing.assert_allclose(adoption.model(images()), expected, atol=1e-5)
    assert {"first", "last"} <= {layer.name for layer in adoption.model.layers}
    adoption.model.get_layer("last").set_weights([np.zeros((1, 1, 4, 3)), np.ones(3)])
    adoption.write_back()
    np.testing.assert_allclose(model(images()), np.ones_like(expected))


@BOTH
def test_a_network_that_fails_at_its_own_size_is_quoted(k):
    class Square(k.layers.Layer):
        def call(self, x):
            return tf.reshape(x, (-1, 16, 16, 3)) if x.shape[1] else x

    inputs = k.Input((None, None, 3))
    model = k.Model(inputs, k.layers.Conv2D(2, 1)(Square()(inputs)), name="squares")
    with pytest.raises(ValueError, match=r"'squares'.*\(16, 24"):
        models.adopt(model, input_shape=SHAPE[:2])


@BOTH
def test_a_fault_that_a_sure_softmax_hides_is_found(k, monkeypatch):
    model = head(k, lambda L, x: L.Conv2D(3, 1, activation="softmax", name="end")(x))
    kernel, bias = model.get_layer("end").get_weights()
    model.get_layer("end").set_weights([kernel, bias + np.array([500.0, 0, 0], np.float32)])
    assert np.asarray(model(images()))[..., 0].min() > 1 - 1e-6
    assert models.adopt(model)[1].difference < 1e-5

    def spoilt(graph, changes=None):
        network = rebuild(graph, changes)
        end = network.get_layer("end")
        end.set_weights([1.5 * weight for weight in end.get_weights()])
        return network

    monkeypatch.setattr(importlib.import_module("tfsegkd.models.adoption.adopt"), "rebuild", spoilt)
    with pytest.raises(ValueError, match="'end'"):
        models.adopt(model)
