"""Networks written by others, as users bring them: from keras-cv, and on the backbones of Keras 3."""

from collections.abc import Callable

from tfsegkd._keras import keras3


def _keras_cv_deeplab(backbone: str, **settings) -> Callable:
    """keras-cv's DeepLabV3Plus on one of its backbones."""

    def build(shape, num_classes):
        import keras_cv

        inner = getattr(keras_cv.models, backbone)(include_rescaling=True, input_shape=shape, **settings)
        return keras_cv.models.DeepLabV3Plus(backbone=inner, num_classes=num_classes)

    return build


def _keras3_unet(shape, num_classes):
    """A U-Net whose encoder is Keras' MobileNetV2, with what users write: `+`, swish, softmax."""
    layers = keras3.layers
    encoder = keras3.applications.MobileNetV2(input_shape=shape, include_top=False, weights=None)
    names = [f"block_{number}_expand_relu" for number in (1, 3, 6, 13)] + ["block_16_project"]
    features = keras3.Model(encoder.input, [encoder.get_layer(name).output for name in names], name="encoder")
    images = keras3.Input(shape, name="image")
    *skips, x = features(keras3.applications.mobilenet_v2.preprocess_input(images))
    for filters, skip in zip((256, 128, 64, 32), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.Activation("swish")(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, skip])
        x = layers.SeparableConv2D(filters, 3, padding="same", activation="relu")(x)
        x = x + layers.Conv2D(filters, 1, activation="relu")(x)
    x = layers.Conv2DTranspose(num_classes, 3, strides=2, padding="same", activation="softmax")(x)
    return keras3.Model(images, x, name="unet")


# Name → (image shape, number of classes) → network. The settings are those of the backbones' papers.
NETWORKS: dict[str, Callable] = {
    "keras_cv DeepLabV3Plus, ResNet-18": _keras_cv_deeplab(
        "ResNetBackbone",
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
    ),
    "keras_cv DeepLabV3Plus, MobileNetV3-Large": _keras_cv_deeplab(
        "MobileNetV3Backbone",
        stackwise_expansion=[1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6],
        stackwise_filters=[16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160],
        stackwise_kernel_size=[3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5],
        stackwise_stride=[1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1],
        stackwise_se_ratio=[None] * 3 + [0.25] * 3 + [None] * 4 + [0.25] * 5,
        stackwise_activation=["relu"] * 6 + ["hard_swish"] * 9,
    ),
    "keras_cv DeepLabV3Plus, EfficientNetV2-B0": _keras_cv_deeplab(
        "EfficientNetV2Backbone",
        stackwise_kernel_sizes=[3] * 6,
        stackwise_num_repeats=[1, 2, 2, 3, 5, 8],
        stackwise_input_filters=[32, 16, 32, 48, 96, 112],
        stackwise_output_filters=[16, 32, 48, 96, 112, 192],
        stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 2, 2, 1, 2],
        stackwise_conv_types=["fused"] * 3 + ["unfused"] * 3,
        width_coefficient=1.0,
        depth_coefficient=1.0,
    ),
    "Keras 3 U-Net on MobileNetV2": _keras3_unet,
}
