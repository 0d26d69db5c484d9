"""A layer of a user's own, registered once, is known everywhere; one that does something else is refused."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
from channel_oracle import shake, zeroed

from tfsegkd import graph, models, pruning, quantization
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, Cut, LayerChannels, LayerSpec, Scale, layer_spec
from tfsegkd.graph.layer_table import affine
from tfsegkd.runtime import Network, convert, profile

layers = keras.layers
SIZE = (16, 24)


@keras3.saving.register_keras_serializable("tests")
class Raised3(keras3.layers.Layer):
    def call(self, inputs):
        return keras3.ops.pad(inputs[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0]])


@keras.utils.register_keras_serializable("tests")
class Raised(layers.Layer):
    """Moves the image up by a row."""

    def call(self, inputs):
        return tf.pad(inputs[:, 1:], [[0, 0], [0, 1], [0, 0], [0, 0]])


@keras.utils.register_keras_serializable("tests")
class Gain(layers.Layer):
    """Multiplies each channel by a factor that is learned."""

    def build(self, shape):
        self.factor = self.add_weight("factor", (shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.factor


class Blurred(layers.Layer):
    """Mixes neighbouring channels."""

    def call(self, inputs):
        return inputs + tf.roll(inputs, 1, -1)


class Widened(layers.Layer):
    def call(self, inputs):
        return tf.concat([inputs, inputs], -1)


def gain_channels(dependencies, node, inputs):
    (channels,) = inputs
    return LayerChannels(channels, channels, [Cut(0, 0, channels, "passes")])


def as_depthwise(layer, x, weights, build):
    return affine(build, x, weights[0], None, layer.name, layer.trainable)


RAISED = LayerSpec(channels="through", macs=0, scale=Scale.SAME, homogeneous=True, keras3=Raised3)
GAIN = LayerSpec(channels=gain_channels, macs=0, decompose=as_depthwise, homogeneous=True)


@pytest.fixture(autouse=True)
def same_table():
    before = layer_spec.types(lambda spec: True)
    yield
    for kind in layer_spec.types(lambda spec: True):
        if kind not in before:
            layer_spec.remove(kind)


def network(made, keras_=keras):
    """One that ends in classes, with `made` in the middle."""
    images = keras_.Input((*SIZE, 3), name="image")
    x = keras_.layers.Conv2D(8, 3, padding="same", name="first")(images)
    x = keras_.layers.BatchNormalization(name="norm")(x)
    x = made(keras_.layers.ReLU(name="relu")(x))
    x = keras_.layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    return keras_.Model(images, keras_.layers.Conv2D(4, 1, name="logits")(x), name="own")


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3)).astype(np.float32)


def check_pruned(model, name):
    less, report = pruning.prune_channels(
        model, "macs:0.5", "l2", round_to=1, compensate=False, recalibrate=False
    )
    assert len(report.kept[name]) < 8
    expected = zeroed(model, report.kept)(pixels(2), training=False)
    np.testing.assert_allclose(less(pixels(2), training=False), expected, rtol=1e-4, atol=1e-3)


def check_int8(model):
    quantized = quantization.quantize(model, calibration=[pixels(8)])
    file = convert(quantized, "float32", "float32")
    assert not profile(file).float_ops
    given, exact = Network(file).predict(pixels(2, 1)), np.asarray(model(pixels(2, 1), training=False))
    assert np.abs(given - exact).mean() < 0.02 * np.abs(exact).max()
    return quantized


def test_a_layer_without_weights_is_adopted_pruned_costed_quantized_and_exported():
    graph.register(Raised, RAISED)
    theirs = network(Raised3(name="own_layer"), keras3)
    model, report = models.adopt(theirs)
    assert isinstance(model.get_layer("own_layer"), Raised) and not report.opened
    shake(model)
    assert graph.cost(model).macs == 16 * 24 * (9 * 3 * 8 + 9 * 8 * 8 + 8 * 4)
    assert graph.cost(model).uncounted == ()
    check_pruned(model, "own_layer")
    quantized = check_int8(model)
    assert type(quantized.get_layer("quant_own_layer").layer) is Raised


def test_a_layer_with_weights_is_adopted_pruned_costed_quantized_and_exported():
    graph.register(Gain, GAIN)
    model, report = models.adopt(shake(network(Gain(name="own_layer"))))
    assert isinstance(model.get_layer("own_layer"), Gain) and not report.opened
    assert graph.cost(model).uncounted == ()
    check_pruned(model, "own_layer")
    check_int8(model)


def test_before_it_is_registered_nothing_is_known_of_it():
    model = shake(network(Gain(name="own_layer")))
    with pytest.raises(ValueError, match=r"own_layer.*Gain.*tfsegkd\.graph\.register"):
        quantization.quantize(model)
    assert any("Gain" in reason for group in ChannelGraph(model).groups for reason in group.frozen)
    assert graph.cost(model).uncounted == ()  # one axis: it cannot be a product of matrices


@pytest.mark.parametrize(
    "activation", [layers.LeakyReLU(0.1), layers.ReLU(6.0), layers.PReLU(shared_axes=[1, 2])]
)
def test_a_layer_as_activation_of_another_is_what_it_is_elsewhere(activation):
    images = keras.Input((*SIZE, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation=activation, name="first")(images)
    model = shake(keras.Model(images, layers.Conv2D(4, 1, name="logits")(x), name="inline"))
    if isinstance(activation, layers.PReLU):
        activation.set_weights([np.full((1, 1, 8), 0.25, np.float32)])
        assert ChannelGraph(model).groups[1].frozen
    else:
        check_pruned(model, "first")
    check_int8(model)


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        (Blurred, LayerSpec(channels="through"), "channels='through'"),
        (Blurred, LayerSpec(scale=Scale.SAME), "scale="),
        (Widened, LayerSpec(channels="repeated"), "channels='repeated'"),
        (Gain, LayerSpec(channels="through"), "channels='through'"),
    ],
)
def test_what_contradicts_the_layer_is_refused(kind, spec, said):
    with pytest.raises(ValueError, match=f"{kind.__name__!r}.*{said}"):
        graph.register(kind, spec)
    assert not layer_spec.is_known(kind)


def test_a_homogeneous_layer_is_looked_at():
    class Shifted(layers.Layer):
        def call(self, inputs):
            return inputs + 1.0

    with pytest.raises(ValueError, match=r"'Shifted'.*homogeneous"):
        graph.register(Shifted, LayerSpec(homogeneous=True))


def test_a_rule_that_forgets_a_weight_is_refused():
    class Shift(Gain):
        pass

    with pytest.raises(ValueError, match=r"'Shift'.*rule for channels"):
        graph.register(Shift, LayerSpec(channels=lambda dependencies, node, inputs: inputs[0]))


def test_two_registrations_of_one_type_are_refused():
    graph.register(Raised, RAISED)
    with pytest.raises(ValueError, match=r"'Raised' is registered already.*through"):
        graph.register(Raised, LayerSpec())
    with pytest.raises(ValueError, match="'Conv2D' is registered already"):
        graph.register(layers.Conv2D, LayerSpec(scale=Scale.SAME))
    assert layer_spec.spec_of(Raised) is RAISED


def test_a_layer_with_arguments_needs_an_example():
    class Rolled(layers.Layer):
        def __init__(self, places, **kwargs):
            super().__init__(**kwargs)
            self.places = places

        def call(self, inputs):
            return tf.roll(inputs, self.places, 2)

        def get_config(self):
            return {**super().get_config(), "places": self.places}

    spec = LayerSpec(channels="through", scale=Scale.SAME)
    with pytest.raises(TypeError, match=r"'Rolled'.*places.*example="):
        graph.register(Rolled, spec)
    with pytest.raises(TypeError, match="must make a Rolled"):
        graph.register(Rolled, spec, example=layers.ReLU)
    graph.register(Rolled, spec, example=lambda: Rolled(3))
    with pytest.raises(ValueError, match="sideways"):
        graph.register(Widened, LayerSpec(channels="sideways"))
    with pytest.raises(TypeError, match="class of tf_keras layers"):
        graph.register(tf.nn.relu, spec)
