"""What grouped convolutions compute, written as loops, and a small network to group."""

import itertools

import numpy as np
from channel_oracle import shake

from tfsegkd._keras import keras

layers = keras.layers


def grouped_convolution(x, kernel, bias, groups, strides=(1, 1), dilation=(1, 1), padding="same"):
    """`kernel` is (height, width, Cin / groups, Cout); everything in float64."""
    reach = [(size - 1) * rate + 1 for size, rate in zip(kernel.shape[:2], dilation, strict=True)]
    sides = []
    for length, stride, span in zip(x.shape[1:3], strides, reach, strict=True):
        missing = max((-(-length // stride) - 1) * stride + span - length, 0) if padding == "same" else 0
        sides.append((missing // 2, missing - missing // 2))
    x = np.pad(x.astype(float), [(0, 0), *sides, (0, 0)])
    shape = [(x.shape[1 + a] - reach[a]) // strides[a] + 1 for a in (0, 1)]
    inputs, outputs = x.shape[-1] // groups, kernel.shape[-1] // groups
    result = np.zeros((len(x), *shape, kernel.shape[-1]))
    for row, column, group in itertools.product(*map(range, shape), range(groups)):
        top, left = row * strides[0], column * strides[1]
        patch = x[:, top : top + reach[0] : dilation[0], left : left + reach[1] : dilation[1]]
        patch = patch[..., group * inputs : (group + 1) * inputs]
        part = slice(group * outputs, (group + 1) * outputs)
        result[:, row, column, part] = np.einsum("nhwi,hwio->no", patch, kernel[..., part].astype(float))
    return result + bias


def one_layer(channels=4, filters=8, size=(5, 6), seed=0, **options):
    """A network of one convolution."""
    inputs = keras.Input((*size, channels), name="features")
    return shake(keras.Model(inputs, layers.Conv2D(filters, name="conv", **options)(inputs)), seed)


def small(width=8, size=(8, 12), seed=0, strides=2):
    """Pixels in, four classes out; 1×1, dilated and strided convolutions, BatchNorm, a shortcut."""
    inputs = keras.Input((*size, 3), name="pixels")
    normalization = layers.DepthwiseConv2D(1, name="normalization", trainable=False)
    x = normalization(inputs)

    def conv(x, filters, kernel, name, relu=True, **options):
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv", **options)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=name)(x) if relu else x

    x = conv(x, width, 3, "stem", strides=strides)
    y = conv(x, 2 * width, 1, "widen")
    y = conv(y, 2 * width, 3, "middle", dilation_rate=2)
    y = conv(y, width, 1, "narrow", relu=False)
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    x = layers.Conv2D(3, 1, name="classifier")(x)
    x = layers.UpSampling2D(strides, interpolation="bilinear", name="logits")(x)
    model = shake(keras.Model(inputs, x, name="small"), seed)
    normalization.set_weights([np.full((1, 1, 3, 1), 1 / 128), np.full(3, -127 / 128)])
    return model


def images(model, count=2, seed=5):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def check_close(one, other, tolerance=1e-5):
    """The largest difference over the largest value."""
    one, other = np.asarray(one), np.asarray(other)
    assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def masked(model, gradual):
    """The dense network with zeros for what `gradual` has between its groups."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for layer in gradual.layers:
        if not hasattr(layer, "blocks"):
            continue
        kernel, *bias = twin.get_layer(layer.name).get_weights()
        into, out_of = layer.input_slots.numpy(), layer.output_slots.numpy()
        for i, o in itertools.product(range(len(into)), range(len(out_of))):
            if into[i] * layer.blocks // len(into) != out_of[o] * layer.blocks // len(out_of):
                kernel[:, :, i, o] = 0
        twin.get_layer(layer.name).set_weights([kernel, *bias])
    return twin
