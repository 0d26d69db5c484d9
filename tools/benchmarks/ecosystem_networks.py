"""Networks that people bring, small and with random weights, by the library that they are of.

Libraries are imported when a network is built, because some choose their Keras then.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

CLASSES = 5
# Which Keras a library takes is told to it by a variable.
ENVIRONMENT = {
    "segmentation_models": {"SM_FRAMEWORK": "tf.keras", "TF_USE_LEGACY_KERAS": "1"},
    "keras-unet-collection": {"TF_USE_LEGACY_KERAS": "1"},
}


@dataclasses.dataclass(frozen=True)
class Form:
    """One network.

    Args:
        build: Builds it.
        size: (height, width) of the images.
        options: What `adopt` has to be told.
        teacher_options: What `load_teacher` has to be told.
    """

    build: Callable[[], Any]
    size: tuple[int, int] = (96, 128)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    teacher_options: dict[str, Any] = dataclasses.field(default_factory=dict)


def _shape(size):
    return (*size, 3)


# keras-cv, on the Keras that it takes.


def _keras_cv(backbone, head="DeepLabV3Plus", size=(96, 128), head_options=None, **options):
    def build():
        import keras_cv

        inner = getattr(keras_cv.models, backbone)(
            include_rescaling=True, input_shape=_shape(size), **options
        )
        return getattr(keras_cv.models, head)(num_classes=CLASSES, backbone=inner, **head_options or {})

    return build


_EFFICIENT = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5],
    "stackwise_num_repeats": [1, 2, 2, 1, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80],
    "stackwise_output_filters": [16, 24, 40, 80, 112],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 2],
    "width_coefficient": 0.5,
    "depth_coefficient": 1.0,
}
KERAS_CV = {
    "DeepLabV3Plus, ResNet": Form(
        _keras_cv(
            "ResNetBackbone",
            stackwise_filters=[8, 8, 16, 16],
            stackwise_blocks=[1, 1, 1, 1],
            stackwise_strides=[1, 2, 2, 2],
        )
    ),
    "DeepLabV3Plus, DenseNet": Form(_keras_cv("DenseNetBackbone", stackwise_num_repeats=[2, 2, 2, 2])),
    "DeepLabV3Plus, MobileNetV3": Form(
        _keras_cv(
            "MobileNetV3Backbone",
            stackwise_expansion=[1, 4, 3, 4],
            stackwise_filters=[16, 24, 40, 48],
            stackwise_kernel_size=[3, 3, 5, 5],
            stackwise_stride=[2, 2, 2, 2],
            stackwise_se_ratio=[0.25, None, 0.25, 0.25],
            stackwise_activation=["relu", "relu", "hard_swish", "hard_swish"],
        )
    ),
    "DeepLabV3Plus, EfficientNetLite": Form(_keras_cv("EfficientNetLiteBackbone", **_EFFICIENT)),
    "DeepLabV3Plus, EfficientNetV1": Form(
        _keras_cv("EfficientNetV1Backbone", stackwise_squeeze_and_excite_ratios=[0.25] * 5, **_EFFICIENT)
    ),
    "DeepLabV3Plus, CSPDarkNet": Form(
        _keras_cv("CSPDarkNetBackbone", stackwise_channels=[8, 16, 32, 64], stackwise_depth=[1, 1, 1, 1])
    ),
    "SegFormer, MiT": Form(
        _keras_cv(
            "MiTBackbone",
            "SegFormer",
            (128, 128),
            {"projection_filters": 16},
            depths=[1, 1, 1, 1],
            hidden_dims=[8, 16, 24, 32],
            num_layers=4,
            blockwise_num_heads=[1, 1, 2, 2],
            blockwise_sr_ratios=[8, 4, 2, 1],
            end_value=0.1,
            patch_sizes=[7, 3, 3, 3],
            strides=[4, 2, 2, 2],
        ),
        (128, 128),
    ),
}

# keras-hub.


def _hub_deeplab(**options):
    def build():
        import keras_hub

        backbone = keras_hub.models.ResNetBackbone(
            **{
                "input_conv_filters": [64],
                "input_conv_kernel_sizes": [7],
                "stackwise_num_filters": [64, 64, 64, 64],
                "stackwise_num_blocks": [1, 1, 1, 1],
                "stackwise_num_strides": [1, 2, 2, 2],
                "block_type": "basic_block",
                "image_shape": (96, 128, 3),
                **options,
            }
        )
        return _hub_head(keras_hub, backbone)

    return build


def _hub_head(keras_hub, backbone):
    deeplab = keras_hub.models.DeepLabV3Backbone(
        image_encoder=backbone,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        dilation_rates=[2, 4],
        upsampling_size=4,
        image_shape=(96, 128, 3),
    )
    return keras_hub.models.DeepLabV3ImageSegmenter(backbone=deeplab, num_classes=CLASSES)


def _hub_segformer():
    import keras_hub

    encoder = keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(128, 128, 3),
        hidden_dims=[8, 16, 24, 32],
    )
    backbone = keras_hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=16)
    return keras_hub.models.SegFormerImageSegmenter(backbone=backbone, num_classes=CLASSES)


KERAS_HUB = {
    "DeepLabV3Plus, ResNet (basic)": Form(_hub_deeplab()),
    "DeepLabV3Plus, ResNet (bottleneck)": Form(_hub_deeplab(block_type="bottleneck_block")),
    "DeepLabV3Plus, ResNetV2 (preact)": Form(_hub_deeplab(block_type="basic_block", use_pre_activation=True)),
    "DeepLabV3Plus, ResNet (vd)": Form(
        _hub_deeplab(
            block_type="bottleneck_block_vd",
            input_conv_filters=[32, 32, 64],
            input_conv_kernel_sizes=[3, 3, 3],
        )
    ),
    "SegFormer, MiT": Form(_hub_segformer, (128, 128)),
}

# segmentation_models.


def _sm(architecture, backbone, size=(96, 128), **options):
    def build():
        import segmentation_models

        options.setdefault("classes", CLASSES)
        options.setdefault("activation", "softmax")
        return getattr(segmentation_models, architecture)(
            backbone, encoder_weights=None, input_shape=_shape(size), **options
        )

    return build


def _sm_open():
    import segmentation_models

    return segmentation_models.Unet("mobilenet", encoder_weights=None, classes=CLASSES, activation="softmax")


SEGMENTATION_MODELS = {
    "Unet, mobilenetv2": Form(_sm("Unet", "mobilenetv2")),
    "FPN, resnet18": Form(_sm("FPN", "resnet18")),
    "Linknet, efficientnetb0": Form(_sm("Linknet", "efficientnetb0")),
    "PSPNet, resnet18": Form(_sm("PSPNet", "resnet18", (96, 144)), (96, 144)),
    "Unet, seresnet18, linear": Form(_sm("Unet", "seresnet18", activation="linear")),
    "Unet, resnet18, sigmoid of one channel": Form(_sm("Unet", "resnet18", classes=1, activation="sigmoid")),
    "Unet, resnext50": Form(_sm("Unet", "resnext50")),
    "Unet, vgg16": Form(_sm("Unet", "vgg16")),
    "Unet, densenet121": Form(_sm("Unet", "densenet121")),
    "Unet, mobilenet, open size": Form(_sm_open, options={"input_shape": (96, 128)}),
}

# keras-unet-collection.


def _kuc(builder, *arguments, size=(96, 128), **options):
    def build():
        from keras_unet_collection import models

        return getattr(models, builder)(_shape(size), *arguments, **options)

    return build


_WIDTHS = [8, 16, 32]
KERAS_UNET_COLLECTION = {
    "unet_2d": Form(_kuc("unet_2d", _WIDTHS, CLASSES, batch_norm=True, output_activation="Softmax")),
    "unet_2d, GELU": Form(_kuc("unet_2d", _WIDTHS, CLASSES, activation="GELU")),
    "unet_2d, Snake": Form(_kuc("unet_2d", _WIDTHS, CLASSES, activation="Snake")),
    "unet_plus_2d": Form(_kuc("unet_plus_2d", _WIDTHS, CLASSES)),
    "unet_plus_2d, deep supervision": Form(
        _kuc("unet_plus_2d", _WIDTHS, CLASSES, deep_supervision=True, name="xnet"),
        options={"output": "xnet_output_final_activation"},
        teacher_options={"output": "xnet_output_final_activation"},
    ),
    "att_unet_2d": Form(_kuc("att_unet_2d", _WIDTHS, CLASSES, unpool=False, pool=False)),
    "r2_unet_2d": Form(_kuc("r2_unet_2d", _WIDTHS, CLASSES)),
    "u2net_2d, sigmoid": Form(
        _kuc("u2net_2d", CLASSES, [8, 8, 16, 16], output_activation="Sigmoid", size=(128, 128), name="u2"),
        (128, 128),
        options={"output": "u2_output_final_activation"},
        teacher_options={"output": "u2_output_final_activation"},
    ),
    "unet_3plus_2d, sigmoid": Form(_kuc("unet_3plus_2d", CLASSES, _WIDTHS, output_activation="Sigmoid")),
    "resunet_a_2d": Form(
        _kuc("resunet_a_2d", _WIDTHS, [1, 3], CLASSES, aspp_num_down=16, aspp_num_up=8, size=(128, 128)),
        (128, 128),
    ),
    "swin_unet_2d": Form(
        _kuc("swin_unet_2d", 16, CLASSES, 2, 1, 1, (4, 4), [2, 4], [4, 2], 32, size=(128, 128)), (128, 128)
    ),
    "transunet_2d": Form(
        _kuc("transunet_2d", _WIDTHS, CLASSES, embed_dim=16, num_mlp=32, num_heads=2, num_transformer=1),
    ),
}

# Keras' own encoders with a head.


def _encoder(package, name):
    def build():
        import importlib

        keras = importlib.import_module(package)
        options = {"minimalistic": False} if "V3" in name and "Mobile" in name else {}
        size = (96, 128)
        inner = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=_shape(size), **options
        )
        x = keras.layers.Conv2D(CLASSES, 1, name="head")(inner.output)
        rows, columns = inner.output.shape[1:3]
        factors = (size[0] // rows, size[1] // columns)
        x = keras.layers.UpSampling2D(factors, interpolation="bilinear")(x)
        return keras.Model(inner.input, keras.layers.Softmax()(x), name=name.lower())

    return build


_ENCODERS = (
    *("MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0"),
    *("ResNet50V2", "DenseNet121", "NASNetMobile", "Xception", "ConvNeXtTiny"),
)
APPLICATIONS = {
    "keras.applications": {name: Form(_encoder("keras", name)) for name in _ENCODERS},
    "tf_keras.applications": {
        name: Form(_encoder("tf_keras", name))
        for name in ("MobileNetV3Small", "EfficientNetB0", "ResNet50V2", "NASNetMobile", "ConvNeXtTiny")
    },
}


# Written by hand, in both Kerases.


def _by_hand(body, shape=(96, 128, 3), policy=None, before=None, batch=None):
    """A network `body(keras, images)` of each Keras."""

    def of(package):
        def build():
            import importlib

            keras = importlib.import_module(package)
            if policy:
                keras.config.set_dtype_policy(policy) if package == "keras" else (
                    keras.mixed_precision.set_global_policy(policy)
                )
            try:
                images = keras.Input(shape, batch_size=batch)
                outputs = body(keras, images)
                return outputs if isinstance(outputs, keras.Model) else keras.Model(images, outputs)
            finally:
                if policy:
                    keras.config.set_dtype_policy("float32") if package == "keras" else (
                        keras.mixed_precision.set_global_policy("float32")
                    )

        return build

    return {"Keras 3": of("keras"), "tf_keras": of("tf_keras")}


def _conv(keras, x, width=8, size=3, **options):
    options = {"padding": "same", "activation": "relu", **options}
    return keras.layers.Conv2D(width, size, **options)(x)


def _scores(keras, x, classes=CLASSES, **options):
    return keras.layers.Conv2D(classes, 1, **options)(x)


def _two_outputs(as_dict):
    def body(keras, images):
        x = _conv(keras, images)
        main, aux = _scores(keras, x, name="main"), _scores(keras, x, name="aux")
        return keras.Model(images, {"main": main, "aux": aux} if as_dict else [main, aux])

    return body


def _sequential(keras, images):
    L = keras.layers
    return keras.Sequential(
        [images, L.Conv2D(8, 3, padding="same"), L.ReLU(), L.Conv2D(CLASSES, 1), L.Softmax()]
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
    return _scores(keras, keras.layers.Concatenate()([_conv(keras, one, 4), other]))


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
                self.one = keras.layers.Conv2D(8, 3, padding="same", activation="relu")
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
    y = _conv(keras, keras.layers.GlobalAveragePooling2D(keepdims=True)(x), 8, 1)
    y = keras.layers.UpSampling2D(x.shape[1:3], interpolation="bilinear")(y)
    x = keras.layers.Concatenate()([x, y, _conv(keras, x, dilation_rate=2)])
    return keras.layers.UpSampling2D(4, interpolation="bilinear")(_scores(keras, x))


def _attention_gate(keras, images):
    x = _conv(keras, images)
    gate = keras.layers.Activation("sigmoid")(keras.layers.Conv2D(1, 1)(_conv(keras, x)))
    return _scores(keras, keras.layers.Multiply()([x, gate]))


def _shared(keras, images):
    shared = keras.layers.Conv2D(8, 3, padding="same")
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


_HAND = {
    "subclassed": (_by_hand(_subclassed(False)), {}),
    "subclassed, wrapped": (_by_hand(_subclassed(True)), {}),
    "Sequential, softmax": (_by_hand(_sequential), {}),
    "two outputs": (_by_hand(_two_outputs(False)), {"output": "main"}),
    "outputs in a dictionary": (_by_hand(_two_outputs(True)), {"output": "main"}),
    "mixed_float16": (
        _by_hand(lambda k, x: _scores(k, _conv(k, x), dtype="float32"), policy="mixed_float16"),
        {},
    ),
    "open size": (
        _by_hand(lambda k, x: _scores(k, _conv(k, x)), (None, None, 3)),
        {"input_shape": (96, 128)},
    ),
    "fixed batch of 2": (_by_hand(lambda k, x: _scores(k, _conv(k, x)), batch=2), {}),
    "spatial attention (CBAM)": (_by_hand(_cbam), {}),
    "depth_to_space": (_by_hand(_depth_to_space), {}),
    "pixel shuffle by Reshape and Permute": (_by_hand(_pixel_shuffle), {}),
    "channel split (ShuffleNet)": (_by_hand(_shuffle), {}),
    "softmax of (N, H·W, C)": (_by_hand(_flat), {}),
    "argmax as output": (_by_hand(_argmax), {}),
    "grey input": (_by_hand(lambda k, x: _scores(k, _conv(k, x)), (96, 128, 1)), {}),
    "one channel, sigmoid": (_by_hand(lambda k, x: _scores(k, _conv(k, x), 1, activation="sigmoid")), {}),
    "one channel, logit": (_by_hand(lambda k, x: _scores(k, _conv(k, x), 1)), {}),
    "BGR, mean subtraction": (_by_hand(_caffe), {}),
    "convolutions without padding": (
        _by_hand(lambda k, x: _scores(k, _conv(k, _conv(k, x, padding="valid"), padding="valid"))),
        {},
    ),
    "shared convolution": (_by_hand(_shared), {}),
    "pyramid with resizes": (_by_hand(_resized_pyramid), {}),
    "ASPP with image pooling": (_by_hand(_image_pooling), {}),
    "grouped convolution": (_by_hand(lambda k, x: _scores(k, _conv(k, _conv(k, x), groups=4))), {}),
    "GroupNormalization": (
        _by_hand(lambda k, x: _scores(k, k.layers.GroupNormalization(4)(_conv(k, x)))),
        {},
    ),
    "attention gate": (_by_hand(_attention_gate), {}),
    "own DropPath": (_by_hand(lambda k, x: _scores(k, _drop_path(k)()(_conv(k, x)))), {}),
    "own LayerScale": (_by_hand(lambda k, x: _scores(k, _own_layer(k)()(_conv(k, x)))), {}),
    "hard swish by hand": (_by_hand(_hard_swish), {}),
    "Lambda": (
        _by_hand(lambda k, x: _scores(k, k.layers.Lambda(lambda t: t / 127.5 - 1.0)(_conv(k, x)))),
        {},
    ),
}
BY_HAND = {
    f"{name} ({package})": Form(
        build,
        options=options,
        teacher_options={key: value for key, value in options.items() if key == "output"},
    )
    for name, (builds, options) in _HAND.items()
    for package, build in builds.items()
}

NETWORKS = {
    "keras-cv": KERAS_CV,
    "keras-hub": KERAS_HUB,
    "segmentation_models": SEGMENTATION_MODELS,
    "keras-unet-collection": KERAS_UNET_COLLECTION,
    **APPLICATIONS,
    "by hand": BY_HAND,
}
