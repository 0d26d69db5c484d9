"""Networks that people bring, small and with random weights, by the library that they are of.

Libraries are imported when a network is built, because some choose their Keras then.
"""

from benchmarks.ecosystem_by_hand import BY_HAND
from benchmarks.ecosystem_forms import CLASSES, Form

# Which Keras a library takes is told to it by a variable.
ENVIRONMENT = {
    "segmentation_models": {"SM_FRAMEWORK": "tf.keras", "TF_USE_LEGACY_KERAS": "1"},
    "keras-unet-collection": {"TF_USE_LEGACY_KERAS": "1"},
}


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
    "DeepLabV3Plus, EfficientNetV1 (deeper)": Form(
        _keras_cv(
            "EfficientNetV1Backbone",
            stackwise_squeeze_and_excite_ratios=[0.25] * 5,
            **_EFFICIENT | {"depth_coefficient": 2.0},
        )
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
            embedding_dims=[16, 32, 40, 64],
        ),
        (128, 128),
    ),
    "SegFormer, MiT (deeper)": Form(
        _keras_cv(
            "MiTBackbone",
            "SegFormer",
            (128, 128),
            {"projection_filters": 32},
            depths=[2, 2, 2, 2],
            embedding_dims=[16, 32, 40, 64],
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


def _hub_efficientnet():
    import keras_hub

    sizes = {key: value for key, value in _EFFICIENT.items() if key.startswith("stackwise")}
    backbone = keras_hub.models.EfficientNetBackbone(
        **sizes,
        stackwise_squeeze_and_excite_ratios=[0] * 5,
        stackwise_block_types=["v1"] * 5,
        width_coefficient=0.5,
        depth_coefficient=1.0,
        activation="relu6",
        input_shape=(96, 128, 3),
    )
    return _hub_head(keras_hub, backbone)


def _hub_mobilenet():
    import keras_hub

    from tfsegkd._keras import keras3 as keras

    backbone = keras_hub.models.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 144, 144]],
        stackwise_num_blocks=[2, 3],
        stackwise_num_filters=[[16, 16], [24, 24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"] * 3],
        stackwise_padding=[[1, 1], [2, 2, 2]],
        output_num_filters=None,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=48,
        squeeze_and_excite=0.5,
        image_shape=(96, 128, 3),
    )
    images = keras.Input((96, 128, 3))
    x = keras.layers.Conv2D(CLASSES, 1)(backbone(images))
    factors = (96 // x.shape[1], 128 // x.shape[2])
    return keras.Model(images, keras.layers.UpSampling2D(factors, interpolation="bilinear")(x))


def _hub_segformer(shape=(128, 128, 3)):
    import keras_hub

    encoder = keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=shape,
        hidden_dims=[8, 16, 24, 32],
    )
    backbone = keras_hub.models.SegFormerBackbone(
        image_encoder=encoder, projection_filters=16, image_shape=shape
    )
    return keras_hub.models.SegFormerImageSegmenter(backbone=backbone, num_classes=CLASSES)


KERAS_HUB = {
    "DeepLabV3Plus, EfficientNet-Lite": Form(_hub_efficientnet),
    "SegFormer, MiT": Form(_hub_segformer, (128, 128)),
    "SegFormer, MiT, 96×128": Form(lambda: _hub_segformer((96, 128, 3))),
    "DeepLabV3Plus, ResNet": Form(_hub_deeplab()),
    "DeepLabV3Plus, ResNetV2": Form(_hub_deeplab(use_pre_activation=True)),
    "MobileNetV3, own head": Form(_hub_mobilenet),
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
    "Unet, mobilenet, open size": Form(_sm_open, options={"input_shape": (96, 128)}),
}

# keras-unet-collection.


def _kuc(builder, *arguments, size=(96, 128), **options):
    def build():
        from keras_unet_collection import models

        return getattr(models, builder)(_shape(size), *arguments, **options)

    return build


_WIDTHS = [16, 32, 64]
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
        _kuc("u2net_2d", CLASSES, [16, 16, 32, 32], output_activation="Sigmoid", size=(128, 128), name="u2"),
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
        _kuc(
            "transunet_2d",
            _WIDTHS,
            CLASSES,
            embed_dim=16,
            num_mlp=32,
            num_heads=2,
            num_transformer=1,
            size=(128, 128),
        ),
        (128, 128),
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


_ENCODERS = {
    "keras": (
        *("MobileNetV3Small", "MobileNetV2", "EfficientNetB0", "ResNet50V2", "DenseNet121", "NASNetMobile"),
        *("MobileNetV3Large", "ConvNeXtTiny"),
    ),
    "tf_keras": ("EfficientNetB0", "ResNet50V2", "NASNetMobile", "MobileNetV3Small"),
}
APPLICATIONS = {
    f"{package}.applications": {name: Form(_encoder(package, name)) for name in names}
    for package, names in _ENCODERS.items()
}

NETWORKS = {
    "keras-cv": KERAS_CV,
    "keras-hub": KERAS_HUB,
    "segmentation_models": SEGMENTATION_MODELS,
    "by hand": BY_HAND,
    "keras-unet-collection": KERAS_UNET_COLLECTION,
    **APPLICATIONS,
}
