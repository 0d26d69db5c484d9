"""Networks as users write them, with the Keras that they pass."""

import numpy as np

from tfsegkd._keras import keras3

NUM_CLASSES = 5


def shaken(model, seed=0):
    """Moves every weight a little, so that none is at its initial value."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [(w + 0.02 * random.random(w.shape)).astype(np.float32) for w in map(np.asarray, model.get_weights())]
    )
    return model


def unet(keras, shape=(16, 24, 3)):
    """A U-Net with what there is: softmax, hard swish, swish, `+`, dropout, a transposed convolution."""
    layers = keras.layers
    images = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    skips = []
    for filters in (4, 6):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.BatchNormalization(epsilon=2e-3, momentum=0.9)(x)
        skips.append(x)
        x = layers.Dropout(0.1)(layers.MaxPooling2D()(x))
    x = layers.Conv2D(8, 3, padding="same", activation="silu", name="context")(x)
    for filters in (6, 4):
        x = layers.Conv2DTranspose(filters, 2, strides=2, activation="relu")(x)
        x = layers.Concatenate()([skips.pop(), x])
        x = layers.SeparableConv2D(filters, 3, padding="same")(x)
        x = layers.Activation("hard_silu")(x)
        x = x + layers.Conv2D(filters, 1)(x)
    x = layers.Conv2D(NUM_CLASSES, 1, activation="softmax", name="head")(x)
    return shaken(keras.Model(images, x, name="unet"))


def deeplab(keras, shape=(32, 64, 3)):
    """MobileNetV2 with a pyramid, its backbone a frozen-in-mode model inside the model."""
    layers, ops = keras.layers, keras.ops
    backbone = keras.applications.MobileNetV2(input_shape=shape, include_top=False, weights=None, alpha=0.35)
    features = [backbone.get_layer(f"block_{number}_expand_relu").output for number in (3, 6)]
    features = keras.Model(backbone.input, features, name="features")
    images = keras.Input(shape, name="image")
    low, x = features(keras.applications.mobilenet_v2.preprocess_input(images), training=False)
    pooled = layers.Conv2D(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    branches = [ops.image.resize(pooled, x.shape[1:3])]
    for rate in (1, 2):
        y = layers.Conv2D(8, 3, padding="same", dilation_rate=rate, use_bias=False)(x)
        branches.append(ops.relu(layers.BatchNormalization()(y)))
    x = layers.Conv2D(8, 1, use_bias=False)(ops.concatenate(branches, axis=-1))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Concatenate()([layers.Resizing(*low.shape[1:3])(x), layers.Conv2D(4, 1)(low)])
    x = layers.Conv2D(NUM_CLASSES, 3, padding="same", name="head")(x)
    return shaken(keras.Model(images, ops.image.resize(x, shape[:2]), name="deeplab"))


def keras_cv_deeplab(backbone, shape=(32, 64, 3)):
    """keras-cv's DeepLabV3Plus with a small backbone of its own, on the Keras that keras-cv has chosen."""
    import keras_cv

    if backbone == "resnet":
        inner = keras_cv.models.ResNetBackbone(
            stackwise_filters=[8, 8, 16, 16],
            stackwise_blocks=[1, 1, 1, 1],
            stackwise_strides=[1, 2, 2, 2],
            include_rescaling=True,
            input_shape=shape,
        )
    else:
        inner = keras_cv.models.MobileNetV3Backbone(
            stackwise_expansion=[1, 4, 3, 4],
            stackwise_filters=[16, 24, 40, 48],
            stackwise_kernel_size=[3, 3, 5, 5],
            stackwise_stride=[2, 2, 2, 2],
            stackwise_se_ratio=[0.25, None, 0.25, 0.25],
            stackwise_activation=["relu", "relu", "hard_swish", "hard_swish"],
            include_rescaling=True,
            alpha=0.35,
            input_shape=shape,
        )
    return shaken(keras_cv.models.DeepLabV3Plus(backbone=inner, num_classes=NUM_CLASSES))


# With the Keras that users have today.
NETWORKS = {
    "unet": lambda: unet(keras3),
    "deeplab": lambda: deeplab(keras3),
    "keras-cv resnet": lambda: keras_cv_deeplab("resnet"),
    "keras-cv mobilenet": lambda: keras_cv_deeplab("mobilenet"),
}
