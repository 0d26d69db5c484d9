"""Networks, batches and layers that the tests of this room share."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras

HEIGHT, WIDTH, CLASSES, IGNORE = 16, 24, 4, 255
SHAPE = (HEIGHT, WIDTH, 3)

layers = keras.layers


class Count(layers.Layer):
    """Passes its input on and notes each time it really runs, and in which mode."""

    def __init__(self, calls: list, **kwargs):
        super().__init__(**kwargs)
        self.calls = calls

    def call(self, inputs, training=None):
        def note():
            self.calls.append(bool(training))

        tf.py_function(note, [], [])
        return tf.identity(inputs)


class Table(layers.Layer):
    """Gives the same tensor whatever the images are: a teacher whose every number a test can choose."""

    def __init__(self, values, **kwargs):
        super().__init__(**kwargs)
        self.values = tf.Variable(values, trainable=False, dtype=tf.float32)

    def call(self, inputs):
        return self.values + 0 * inputs[:, :, :, :1]


def network(
    name: str, filters: int = 6, classes: int = CLASSES, shape=SHAPE, seed: int = 0, calls: list | None = None
) -> keras.Model:
    """Conv, BatchNorm, ReLU ('stage', at stride 2), 1×1 conv, upsampling."""
    keras.utils.set_random_seed(seed)
    images = keras.Input(shape, name="image")
    x = Count(calls, name="count")(images) if calls is not None else images
    x = layers.Rescaling(1 / 255, name="scale")(x) if calls is not None else x
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(6.0, name="stage")(x)
    x = layers.Conv2D(classes, 1, name="head")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(x)
    return keras.Model(images, x, name=name)


def batch(count: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks; a fifth of the pixels is void, and in the last image every pixel is."""
    random = np.random.default_rng(seed)
    images = random.uniform(0, 255, (count, *SHAPE)).astype("float32")
    masks = random.integers(0, CLASSES, (count, HEIGHT, WIDTH)).astype("int32")
    masks[random.random(masks.shape) < 0.2] = IGNORE
    masks[-1] = IGNORE
    return images, masks


def statistics(model: keras.Model) -> list[np.ndarray]:
    """The moving mean and variance of the BatchNorm."""
    norm = next(layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    return [norm.moving_mean.numpy(), norm.moving_variance.numpy()]


def same(ones, others) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))
