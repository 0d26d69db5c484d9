"""DeepLabV3, against the counts of torchvision."""

import pytest
from model_battery import check_model, trainable

from tfsegkd import models


@pytest.mark.parametrize(
    "spec",
    [
        "deeplab_v3(backbone=resnet18, width_multiplier=0.125, filters=8, rates=(1, 2))",
        "deeplab_v3(backbone=mobilenet_v3_small, width_multiplier=0.5, filters=8, output_stride=16)",
    ],
)
def test_it_does_what_every_network_does(spec, tmp_path):
    check_model(spec, tmp_path)


def auxiliary(before):
    """torchvision's auxiliary head, which ours leaves out: 3×3 to a quarter of the channels, 21 classes."""
    between = before // 4
    return 9 * before * between + 2 * between + between * 21 + 21


@pytest.mark.parametrize(
    ("backbone", "channels", "published"),
    [
        ("resnet50", 1024, 42_004_074),
        ("resnet101", 1024, 60_996_202),
        ("mobilenet_v3_large", 40, 11_029_328),
    ],
)
def test_published_parameters(backbone, channels, published):
    """`num_params` in the documentation of torchvision's segmentation weights, 21 classes."""
    model = models.build(f"deeplab_v3(backbone={backbone})", 21, (64, 64, 3))
    assert trainable(model) + auxiliary(channels) == published


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_rates_follow_the_stride(output_stride, rates):
    spec = f"deeplab_v3(backbone=resnet18, width_multiplier=0.125, filters=8, output_stride={output_stride})"
    model = models.build(spec, 3, (32, 32, 3))
    assert [model.get_layer(f"aspp_{rate}_conv").dilation_rate[0] for rate in rates] == rates
