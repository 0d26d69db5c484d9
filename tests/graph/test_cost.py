"""The cost of a network against plain loops and published counts."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras, tfmot
from tfsegkd.graph import cost, layer_costs

layers = keras.layers


def loop_macs(height, width, kernel, strides, dilation, padding):
    """Visits every output position and every kernel position, one by one."""
    visits = 0
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    ends = (height, width) if padding == "same" else (height - reach[0] + 1, width - reach[1] + 1)
    for _ in range(0, ends[0], strides[0]):
        for _ in range(0, ends[1], strides[1]):
            for _ in range(kernel[0]):
                for _ in range(kernel[1]):
                    visits += 1
    return visits


def model_of(layer, shape=(9, 11, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


CONVOLUTIONS = [
    {"kernel": (3, 3)},
    {"kernel": (3, 1), "padding": "valid"},
    {"kernel": (3, 5), "strides": (2, 2)},
    {"kernel": (1, 1), "strides": (2, 2), "padding": "valid"},
    {"kernel": (3, 3), "dilation": (2, 2)},
    {"kernel": (3, 3), "dilation": (2, 3), "padding": "valid"},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(options, groups):
    options = {"strides": (1, 1), "dilation": (1, 1), "padding": "same", **options}
    visits = loop_macs(9, 11, **options)
    model = model_of(
        layers.Conv2D(
            6,
            options["kernel"],
            strides=options["strides"],
            dilation_rate=options["dilation"],
            padding=options["padding"],
            groups=groups,
        )
    )
    assert cost(model).macs == visits * (4 // groups) * 6


@pytest.mark.parametrize("options", CONVOLUTIONS[2:5])
def test_depthwise_and_separable(options):
    options = {"strides": (1, 1), "dilation": (1, 1), "padding": "same", **options}
    options["kernel"] = (3, 3)
    keywords = {
        "strides": options["strides"],
        "dilation_rate": options["dilation"],
        "padding": options["padding"],
        "depth_multiplier": 2,
    }
    visits = loop_macs(9, 11, **options)
    positions = visits // 9
    assert cost(model_of(layers.DepthwiseConv2D(3, **keywords))).macs == visits * 4 * 2
    assert cost(model_of(layers.SeparableConv2D(6, 3, **keywords))).macs == visits * 4 * 2 + positions * 8 * 6


def test_transposed_convolution_counts_input_positions():
    model = model_of(layers.Conv2DTranspose(5, (3, 2), strides=2, padding="same"), (6, 7, 4))
    assert model.output_shape == (None, 12, 14, 5)
    assert cost(model).macs == 6 * 7 * (3 * 2) * 4 * 5


def test_channels_first_is_the_same():
    last = model_of(layers.Conv2D(6, 3), (9, 11, 4))
    first = model_of(layers.Conv2D(6, 3, data_format="channels_first"), (4, 9, 11))
    assert cost(first).macs == cost(last).macs


def test_dense():
    assert cost(model_of(layers.Dense(7), (10,))).macs == 70
    assert cost(model_of(layers.Dense(7), (3, 5, 10))).macs == 3 * 5 * 70


def test_all_three_figures_of_a_small_network():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.PReLU()(x)
    x = layers.Add()([x, layers.Activation("relu")(x)])
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    result = cost(keras.Model(inputs, x))
    assert result.parameters == (3 * 3 * 3 * 4 + 4) + 4 * 4 + 4 * 4 * 4
    assert result.macs == 4 * 4 * 9 * 3 * 4
    assert result.activation_bytes == 4 * (5 * 4 * 4 * 4 + 8 * 8 * 4)
    assert result.input_shapes == ((8, 8, 3),)
    assert result.uncounted == ()


# Keras' own documentation for the parameters, the papers for the MACs (ResNet50 in its first version, which
# strides in the 1×1 convolutions).
PUBLISHED = {
    "MobileNet": (4_253_864, 569e6),
    "MobileNetV2": (3_538_984, 300.8e6),
    "ResNet50": (25_636_712, 3.86e9),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name):
    parameters, macs = PUBLISHED[name]
    result = cost(getattr(keras.applications, name)(weights=None))
    assert result.parameters == parameters
    assert result.macs == pytest.approx(macs, rel=1e-3)
    assert result.uncounted == ()


def small_network(size=(16, 16, 3)):
    inputs = keras.Input(size)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2D(8, 1)(x)
    x = layers.Conv2DTranspose(8, 2, strides=2)(x)
    return keras.Model(inputs, layers.Conv2D(4, 1)(x), name="small")


def test_tfmot_wrappers_cost_nothing():
    plain = small_network()
    expected = cost(plain)
    quantized = tfmot.quantization.keras.quantize_model(plain)
    assert cost(quantized) == expected
    # Running the wrapper swaps the kernel for a tensor; the count must not notice.
    quantized(np.zeros((1, 16, 16, 3), np.float32), training=True)
    assert cost(quantized) == expected
    assert cost(tfmot.sparsity.keras.prune_low_magnitude(small_network())) == expected


def test_nested_models_are_opened():
    inner = small_network()
    inputs = keras.Input((16, 16, 3))
    nested = keras.Model(inputs, inner(inputs))
    assert cost(nested) == cost(inner)
    assert cost(keras.Sequential([inner])) == cost(inner)


def test_a_shared_layer_counts_macs_for_each_call_and_parameters_once():
    shared = layers.Conv2D(3, 3, padding="same")
    inputs = keras.Input((8, 8, 3))
    once, twice = shared(inputs), shared(shared(inputs))
    assert cost(keras.Model(inputs, once)).macs == 64 * 81
    # A call that belongs to another model does not count.
    result = cost(keras.Model(inputs, layers.MaxPool2D(8)(twice)))
    assert (result.macs, result.parameters) == (2 * 64 * 81, 84)
    pair = keras.Model(inputs, layers.Concatenate()([shared(inputs), shared(inputs)]))
    assert (cost(pair).macs, cost(pair).parameters) == (2 * 64 * 81, 84)


def test_several_inputs():
    first, second = keras.Input((8, 8, 3)), keras.Input((4,))
    result = cost(keras.Model([first, second], [layers.Conv2D(2, 1)(first), layers.Dense(5)(second)]))
    assert result.input_shapes == ((8, 8, 3), (4,))
    assert result.macs == 64 * 3 * 2 + 20


class Custom(keras.layers.Layer):
    def build(self, shape):
        self.matrix = self.add_weight("matrix", (shape[-1], 2))

    def call(self, x):
        return tf.matmul(x, self.matrix)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: Custom(name="odd")(x),
        lambda x: layers.Lambda(lambda y: y, name="odd")(x),
        lambda x: layers.TimeDistributed(layers.Dense(2), name="odd")(x),
        lambda x: layers.Dot(2, name="odd")([x, x]),
        lambda x: tf.matmul(x, x, transpose_b=True, name="odd"),
    ],
)
def test_a_layer_without_a_formula_is_named(build):
    inputs = keras.Input((5, 3))
    result = cost(keras.Model(inputs, layers.Dense(2)(build(inputs))))
    assert len(result.uncounted) == 1
    assert result.uncounted[0] in ("odd", "tf.linalg.matmul")


def test_sums_and_products_written_as_python_count_zero():
    inputs = keras.Input((8, 8, 3))
    result = cost(keras.Model(inputs, tf.image.resize(inputs * 2.0 + 1.0, (4, 4))))
    assert (result.macs, result.uncounted) == (0, ())


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"not fixed.*input_shape"):
        cost(small_network((None, None, 3)))


def test_a_nested_model_of_another_size_is_refused():
    inner = small_network((None, None, 3))
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(ValueError, match="'small' inside another"):
        cost(keras.Model(inputs, inner(inputs)))


def test_what_is_no_functional_model_is_refused():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(TypeError, match=r"adopt\(keras\.Model"):
        cost(Subclassed())
    with pytest.raises(TypeError, match=r"tf_keras model\. Received: function"):
        cost(lambda x: x)


def test_layers_add_up_to_the_network():
    inputs = keras.Input((9, 11, 4))
    shared = layers.Conv2D(4, 3, padding="same", name="twice")
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="half")(shared(shared(inputs)))
    model = keras.Model(inputs, layers.ReLU(name="relu")(x))
    found = layer_costs(model)
    assert {name: one.macs for name, one in found.items()} == {
        "twice": 2 * 9 * 11 * 9 * 4 * 4,
        "half": 5 * 6 * 9 * 4,
        "relu": 0,
    }
    assert found["half"].shape == (5, 6, 4)
    assert sum(one.macs for one in found.values()) == cost(model).macs
