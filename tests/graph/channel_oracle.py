"""Random networks, and what a network without some channels must compute."""

import numpy as np

from tfsegkd._keras import keras

layers = keras.layers
# Transposed convolutions are convolutions to Keras.
READERS = (layers.Conv2D, layers.SeparableConv2D, layers.Dense)


def shake(model, seed=0):
    """Gives a model random weights, its BatchNorms' statistics included, that keep its outputs moderate."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        weights = []
        for weight in layer.weights:
            value = random.normal(size=weight.shape)
            if "variance" in weight.name or "gamma" in weight.name:
                value = random.uniform(0.5, 1.5, weight.shape)
            elif "kernel" in weight.name:
                value /= np.sqrt(np.prod(weight.shape[:-1]))
            weights.append(value.astype(np.float32))
        if layer.name != "normalization":
            layer.set_weights(weights)
    return model


def zeroed(model, kept):
    """A copy of `model` whose layers do not see the input channels that are not in `kept`.

    Args:
        kept: Layer name → the output channels it keeps.
    """
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        if not isinstance(layer, READERS) or isinstance(layer, layers.DepthwiseConv2D):
            continue
        producer = layer.inbound_nodes[0].inbound_layers
        gone = np.ones(layer.inbound_nodes[0].input_shapes[-1], bool)
        gone[list(kept[producer.name])] = False
        weights = layer.get_weights()
        kernel = weights[0]
        # The order matters: Keras derives the transposed convolution from the plain one.
        if isinstance(layer, layers.Dense):
            kernel[gone] = 0
        elif isinstance(layer, layers.Conv2DTranspose):
            kernel[:, :, :, gone] = 0
        elif isinstance(layer, layers.SeparableConv2D):
            kernel[:, :, gone] = 0
        else:
            block, filters = len(gone) // layer.groups, layer.filters // layer.groups
            for number in range(layer.groups):
                absent = gone[number * block : (number + 1) * block]
                kernel[:, :, absent, number * filters : (number + 1) * filters] = 0
        layer.set_weights(weights)
    return twin


def pick(channels, seed, share=0.5):
    """A random set of units to keep: in each group that can lose some, at least one."""
    random = np.random.default_rng(seed)
    keep = channels.all()
    for group in channels.prunable:
        keep[group.units] = random.random(len(group.units)) < share
        keep[random.choice(group.units)] = True
    return keep


class RandomNetwork:
    """A network that grows by random pieces, all of them at one size so that any two tensors can meet."""

    def __init__(self, seed, size=8, steps=9):
        self.random = np.random.default_rng(seed)
        self.size = size
        inputs = keras.Input((size, size, 3), name="pixels")
        self.tensors = [self.conv(inputs)]
        self.shared = layers.Conv2D(6, 3, padding="same", name="shared")
        self.shared_norm = layers.BatchNormalization(name="shared_norm")
        for _ in range(steps):
            self.tensors.append(self.piece()(self.choose()))
        joined = layers.Concatenate()([self.tensors[-1], self.choose()])
        logits = layers.Conv2D(4, 1, name="logits")(joined)
        x = layers.AveragePooling2D(size // 2)(self.choose())
        scores = layers.Dense(3, name="scores")(layers.Dense(7)(layers.Flatten()(x)))
        self.model = shake(keras.Model(inputs, [logits, scores]), seed)

    def choose(self, filters=None):
        fitting = [t for t in self.tensors if filters in (None, t.shape[-1])]
        return fitting[self.random.integers(len(fitting))]

    def piece(self):
        pieces = (self.conv, self.add, self.twice, self.depthwise, self.transposed, self.separable)
        pieces += (self.gate, self.shared_conv, self.grouped, self.maximum, self.group_norm, self.reshaped)
        return pieces[self.random.integers(len(pieces))]

    def conv(self, x):
        filters = int(self.random.choice([4, 6, 8]))
        x = layers.Conv2D(filters, 3, padding="same", use_bias=bool(self.random.integers(2)))(x)
        return layers.ReLU(6.0)(layers.BatchNormalization()(x))

    def add(self, x):
        return layers.Add()([x, layers.Conv2D(x.shape[-1], 1)(self.choose()), self.choose(x.shape[-1])])

    def twice(self, x):
        return layers.Concatenate()([x, x]) if x.shape[-1] < 16 else self.conv(x)

    def depthwise(self, x):
        multiplier = 2 if x.shape[-1] < 12 else 1
        x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier)(x)
        return layers.PReLU(shared_axes=[1, 2])(x)

    def transposed(self, x):
        x = layers.MaxPooling2D(2)(x)
        return layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="sigmoid")(x)

    def separable(self, x):
        return layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, dilation_rate=2)(x)

    def gate(self, x):
        gates = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gates = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(layers.Conv2D(4, 1)(gates))
        return layers.Multiply()([x, gates])

    def shared_conv(self, x):
        x = self.shared_norm(self.shared(layers.Conv2D(4, 1)(x)))
        return layers.LeakyReLU()(x)

    def grouped(self, x):
        x = layers.Conv2D(6, 3, padding="same", groups=2)(x) if x.shape[-1] % 2 == 0 else self.conv(x)
        return layers.Conv2D(12, 3, padding="same", groups=6)(x) if x.shape[-1] == 6 else x

    def maximum(self, x):
        return layers.Maximum()([x, self.choose(x.shape[-1])])

    def group_norm(self, x):
        return layers.GroupNormalization(4 if x.shape[-1] % 4 == 0 else 1)(x)

    def reshaped(self, x):
        x = layers.Reshape((self.size**2, x.shape[-1]))(x)
        return layers.Reshape((self.size, self.size, -1))(layers.Dropout(0.5)(x))
