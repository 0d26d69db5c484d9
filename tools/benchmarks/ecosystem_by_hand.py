"""Networks as people write them, in one Keras or the other."""

import importlib

import numpy as np

from benchmarks.ecosystem_forms import CLASSES, Form

SIZE = {"input_shape": (96, 128)}
MAIN = {"output": "main"}


def _by_hand(package, body, shape=(96, 128, 3), policy=None, batch=None, **form):
    """A network `body(keras, images)` of a Keras."""

    def build():
        keras = importlib.import_module(package)
        set_policy = (
            keras.config.set_dtype_policy if package == "keras" else keras.mixed_precision.set_global_policy
        )
        if policy:
            set_policy(policy)
        try:
            images = keras.Input(shape, batch_size=batch)
            outputs = body(keras, images)
            is_tensor = hasattr(outputs, "shape") or isinstance(outputs, list | dict)
            return keras.Model(images, outputs) if is_tensor else outputs
        finally:
            if policy:
                set_policy("float32")

    return Form(build, **form)


def _conv(keras, x, width=32, size=3, **options):
    options = {"padding": "same", "activation": "relu", **options}
    return keras.layers.Conv2D(width, size, **options)(x)


def _scores(keras, x, classes=CLASSES, **options):
    return keras.layers.Conv2D(classes, 1, **options)(x)


def _two_outputs(as_dict):
    def body(keras, images):
        x = _conv(keras, images)
        main, aux = _scores(keras, x, name="main"), _scores(keras, x, name="aux")
        return {"main": main, "aux": aux} if as_dict else [main, aux]

    return body


def _sequential(keras, images):
    L = keras.layers
    return keras.Sequential(
        [images, L.Conv2D(32, 3, padding="same"), L.ReLU(), L.Conv2D(CLASSES, 1), L.Softmax()]
    )


def _cbam(keras, images):
    x = _conv(keras, images)
    if keras.__name__ == "keras":
        mean, most = (function(x, axis=-1, keepdims=True) for function in (keras.ops.mean, keras.ops.max))
    else:
        import tensorflow as tf

        mean, most = (function(x, -1, keepdims=True) for function in (tf.reduce_mean, tf.reduce_max))
    joined = keras.layers.Concatenate()([mean, most])
    return _scores(keras, x * keras.layers.Conv2D(1, 7, padding="same", activation="sigmoid")(joined))


def _shuffle(keras, images):
    x = _conv(keras, images)
    if keras.__name__ == "keras":
        one, other = keras.ops.split(x, 2, axis=-1)
    else:
        import tensorflow as tf

        one, other = tf.split(x, 2, axis=-1)
    return _scores(keras, keras.layers.Concatenate()([_conv(keras, one), other]))


def _depth_to_space(keras, images):
    import tensorflow as tf

    x = _conv(keras, images, strides=2)
    x = _scores(keras, x, 4 * CLASSES)
    if keras.__name__ == "keras":
        return keras.layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2))(x)
    return tf.nn.depth_to_space(x, 2)


def _pixel_shuffle(keras, images):
    x = _scores(keras, _conv(keras, images, strides=2), 4 * CLASSES)
    rows, columns = x.shape[1:3]
    x = keras.layers.Reshape((rows, columns, 2, 2, CLASSES))(x)
    x = keras.layers.Permute((1, 3, 2, 4, 5))(x)
    return keras.layers.Reshape((2 * rows, 2 * columns, CLASSES))(x)


def _own_layer(keras):
    class LayerScale(keras.layers.Layer):
        def build(self, shape):
            self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

        def call(self, x):
            return x * self.gamma

    return LayerScale


def _drop_path(keras):
    import tensorflow as tf

    class DropPath(keras.layers.Layer):
        def call(self, x, training=None):
            if not training:
                return x
            return x * tf.cast(tf.random.uniform([tf.shape(x)[0], 1, 1, 1]) < 0.9, x.dtype)

    return DropPath


def _subclassed(wrapped):
    def body(keras, images):
        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.one = keras.layers.Conv2D(32, 3, padding="same", activation="relu")
                self.two = keras.layers.Conv2D(CLASSES, 1)

            def call(self, x):
                return self.two(self.one(x))

        net = Net()
        net.build((None, *images.shape[1:]))
        return keras.Model(images, net(images)) if wrapped else net

    return body


def _resized_pyramid(keras, images):
    x = _conv(keras, images, strides=4)
    branches = [x]
    for size in (3, 6):
        y = _conv(keras, keras.layers.AveragePooling2D(size)(x), 4, 1)
        branches.append(keras.layers.Resizing(*x.shape[1:3])(y))
    x = keras.layers.Concatenate()(branches)
    return keras.layers.UpSampling2D(4, interpolation="bilinear")(_scores(keras, x))


def _image_pooling(keras, images):
    x = _conv(keras, images, strides=4)
    y = _conv(keras, keras.layers.GlobalAveragePooling2D(keepdims=True)(x), 32, 1)
    y = keras.layers.UpSampling2D(x.shape[1:3], interpolation="bilinear")(y)
    x = keras.layers.Concatenate()([x, y, _conv(keras, x, dilation_rate=2)])
    return keras.layers.UpSampling2D(4, interpolation="bilinear")(_scores(keras, x))


def _attention_gate(keras, images):
    x = _conv(keras, images)
    gate = keras.layers.Activation("sigmoid")(keras.layers.Conv2D(1, 1)(_conv(keras, x)))
    return _scores(keras, keras.layers.Multiply()([x, gate]))


def _shared(keras, images):
    shared = keras.layers.Conv2D(32, 3, padding="same")
    return _scores(keras, shared(_conv(keras, images)) + shared(_conv(keras, images)))


def _flat(keras, images):
    x = keras.layers.Reshape((-1, CLASSES))(_scores(keras, _conv(keras, images)))
    return keras.layers.Softmax()(x)


def _argmax(keras, images):
    import tensorflow as tf

    x = _scores(keras, _conv(keras, images))
    return keras.ops.argmax(x, -1) if keras.__name__ == "keras" else tf.argmax(x, -1)


def _caffe(keras, images):
    x = images[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    return _scores(keras, _conv(keras, x))


def _hard_swish(keras, images):
    x = _conv(keras, images, activation=None)
    relu6 = keras.layers.ReLU(6.0)
    return _scores(keras, x * relu6(x + 3.0) * (1 / 6))


def _functional_subclass(keras, images):
    class Net(keras.Model):
        pass

    return Net(images, _scores(keras, _conv(keras, images)))


def _main_cut(keras, images):
    main, aux = _two_outputs(False)(keras, images)
    both = keras.Model(images, [main, aux])
    return keras.Model(both.input, both.get_layer("main").output)


def _dense_gelu(keras, images):
    x = keras.layers.Dense(32, activation="gelu")(_conv(keras, images))
    return _scores(keras, x)


def _valid_leaky(keras, images):
    x = images
    for _ in range(2):
        x = keras.layers.LeakyReLU(0.1)(_conv(keras, x, padding="valid", activation=None))
    return _scores(keras, x)


def _output_padding(keras, images):
    x = _conv(keras, images, strides=2)
    x = keras.layers.Conv2DTranspose(32, 3, strides=2, padding="same", output_padding=1)(x)
    return _scores(keras, x)


def _plain(keras, images):
    return _scores(keras, _conv(keras, images))


def _function(keras, images):
    net = _subclassed(False)(keras, images)
    return lambda batch: net(batch, training=False)


def _at_size(keras, images):
    from tfsegkd import models

    return models.at_size(keras.Model(images, _plain(keras, images)), (96, 128))


def _mixed(keras, images):
    return _scores(keras, _conv(keras, images), dtype="float32")


def _grouped(keras, images):
    return _scores(keras, _conv(keras, _conv(keras, images), groups=4))


def _group_norm(keras, images):
    return _scores(keras, keras.layers.GroupNormalization(4)(_conv(keras, images)))


def _with_drop_path(keras, images):
    return _scores(keras, _drop_path(keras)()(_conv(keras, images)))


def _with_layer_scale(keras, images):
    return _scores(keras, _own_layer(keras)()(_conv(keras, images)))


def _sigmoid(keras, images):
    return _scores(keras, _conv(keras, images), 1, activation="sigmoid")


_THREE, _TWO = "keras", "tf_keras"
_OPEN = (None, None, 3)
BY_HAND = {
    "subclassed, built (tf_keras)": _by_hand(_TWO, _subclassed(False), options=SIZE),
    "subclassed, built (Keras 3)": _by_hand(_THREE, _subclassed(False), options=SIZE),
    "subclass of a functional network (Keras 3)": _by_hand(_THREE, _functional_subclass),
    "Sequential, softmax (tf_keras)": _by_hand(_TWO, _sequential),
    "Sequential, softmax (Keras 3)": _by_hand(_THREE, _sequential),
    "two outputs (tf_keras)": _by_hand(_TWO, _two_outputs(False), options=MAIN, teacher_options=MAIN),
    "two outputs (Keras 3)": _by_hand(_THREE, _two_outputs(False), options=MAIN, teacher_options=MAIN),
    "outputs in a dictionary (Keras 3)": _by_hand(
        _THREE, _two_outputs(True), options=MAIN, teacher_options=MAIN
    ),
    "auxiliary head, cut off (tf_keras)": _by_hand(_TWO, _main_cut),
    "mixed_float16 (tf_keras)": _by_hand(_TWO, _mixed, policy="mixed_float16"),
    "mixed_float16 (Keras 3)": _by_hand(_THREE, _mixed, policy="mixed_float16"),
    "open size (Keras 3)": _by_hand(_THREE, _plain, _OPEN, options=SIZE),
    "open size (tf_keras)": _by_hand(_TWO, _plain, _OPEN, options=SIZE),
    "fixed batch of 2 (Keras 3)": _by_hand(_THREE, _plain, batch=2),
    "spatial attention, CBAM (tf_keras)": _by_hand(_TWO, _cbam),
    "spatial attention, CBAM (Keras 3)": _by_hand(_THREE, _cbam),
    "depth_to_space (tf_keras)": _by_hand(_TWO, _depth_to_space),
    "pixel shuffle by Reshape and Permute (Keras 3)": _by_hand(_THREE, _pixel_shuffle),
    "channel split, ShuffleNet (tf_keras)": _by_hand(_TWO, _shuffle),
    "channel split, ShuffleNet (Keras 3)": _by_hand(_THREE, _shuffle),
    "softmax of (N, H·W, C) (tf_keras)": _by_hand(_TWO, _flat),
    "Dense with gelu (Keras 3)": _by_hand(_THREE, _dense_gelu),
    "shared convolution (tf_keras)": _by_hand(_TWO, _shared),
    "convolutions without padding, LeakyReLU (Keras 3)": _by_hand(_THREE, _valid_leaky),
    "pyramid with resizes (tf_keras)": _by_hand(_TWO, _resized_pyramid),
    "pyramid with resizes (Keras 3)": _by_hand(_THREE, _resized_pyramid),
    "ASPP with image pooling (Keras 3)": _by_hand(_THREE, _image_pooling),
    "grouped convolution (Keras 3)": _by_hand(_THREE, _grouped),
    "GroupNormalization (Keras 3)": _by_hand(_THREE, _group_norm),
    "argmax as output (Keras 3)": _by_hand(_THREE, _argmax),
    "grey input (Keras 3)": _by_hand(_THREE, _plain, (96, 128, 1)),
    "BGR, mean subtraction (Keras 3)": _by_hand(_THREE, _caffe),
    "attention gate (Keras 3)": _by_hand(_THREE, _attention_gate),
    "own DropPath (Keras 3)": _by_hand(_THREE, _with_drop_path),
    "own DropPath (tf_keras)": _by_hand(_TWO, _with_drop_path),
    "own LayerScale (Keras 3)": _by_hand(_THREE, _with_layer_scale),
    "own LayerScale (tf_keras)": _by_hand(_TWO, _with_layer_scale),
    "hard swish by hand (Keras 3)": _by_hand(_THREE, _hard_swish),
    "Conv2DTranspose, output_padding (Keras 3)": _by_hand(_THREE, _output_padding),
    "subclassed, wrapped (Keras 3)": _by_hand(_THREE, _subclassed(True)),
    "subclassed, wrapped (tf_keras)": _by_hand(_TWO, _subclassed(True)),
    "a function (tf_keras)": _by_hand(_TWO, _function),
    "open size, by at_size (tf_keras)": _by_hand(_TWO, _at_size, _OPEN),
    "one channel, sigmoid (tf_keras)": _by_hand(_TWO, _sigmoid),
    "one channel, sigmoid (Keras 3)": _by_hand(_THREE, _sigmoid),
}
