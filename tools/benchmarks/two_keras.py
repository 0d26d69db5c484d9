"""A teacher and a student that both Kerases can build, layer for layer."""

# Of equal width in both, because keras.distillation joins no others.
FEATURE = "feature"
_FEATURE_CHANNELS = 96
# Channels and number of blocks at each stride.
PLANS = {
    "teacher": {4: (48, 3), 8: (96, 4), 16: (192, 6)},
    "student": {4: (24, 2), 8: (40, 2), 16: (64, 3)},
}


def network(keras, role: str, num_classes: int, input_shape: tuple[int, int, int]):
    """An encoder of separable blocks to stride 16 and a decoder with one skip, logits at input size.

    Args:
        keras: tf_keras or Keras 3, whose layers the network is made of.
        role: 'teacher' or 'student'.
        num_classes: The channels of the logits.
        input_shape: Height, width, channels; sides are multiples of 16.
    """
    layers = keras.layers

    def conv(x, filters, kernel, stride=1):
        x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False)(x)
        return layers.ReLU(6.0)(layers.BatchNormalization()(x))

    def block(x, filters, stride):
        x = conv(x, 2 * filters, 1)
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        return conv(x, filters, 1)

    images = keras.Input(input_shape)
    x = conv(layers.Rescaling(1 / 127.5, -1)(images), 24, 3, stride=2)
    skip = None
    for filters, repeats in PLANS[role].values():
        skip = x
        for repeat in range(repeats):
            x = block(x, filters, stride=1 if repeat else 2)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Concatenate()([x, conv(skip, 48, 1)])
    x = layers.Conv2D(_FEATURE_CHANNELS, 1, use_bias=False)(x)
    x = layers.ReLU(6.0, name=FEATURE)(layers.BatchNormalization()(x))
    x = layers.Conv2D(num_classes, 1)(x)
    return keras.Model(images, layers.UpSampling2D(8, interpolation="bilinear")(x), name=role)
