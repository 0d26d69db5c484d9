"""PSPNet."""

import pytest
from model_battery import check_model, trainable

from tfsegkd import models


@pytest.mark.parametrize(
    "spec",
    [
        "pspnet(backbone=resnet18, width_multiplier=0.125, filters=8)",
        "pspnet(backbone=mobilenet_v2, width_multiplier=0.125, filters=8, output_stride=32, bins=(1, 2))",
    ],
)
def test_it_does_what_every_network_does(spec, tmp_path):
    check_model(spec, tmp_path)


def conv(kernel, before, after, norm=True):
    return kernel * kernel * before * after + (2 * after if norm else 0)


@pytest.mark.parametrize(("depth", "published"), [(50, 51.45e6), (101, 70.44e6)])
def test_published_parameters(depth, published):
    """The counts that Liu et al., CVPR 2019, and those after them give for 19 classes.

    Their code has two things that ours leaves out: an auxiliary head, 3×3 from 1024 to 512 channels with a
    bias, and an entrance of three 3×3 convolutions, whose 128 channels the first block reads.
    """
    auxiliary = conv(3, 1024, 512) + 512 + 512 * 19 + 19
    entrance = conv(3, 3, 64) + conv(3, 64, 64) + conv(3, 64, 128) - conv(7, 3, 64)
    entrance += 64 * (64 + 256)  # the first block's own convolution and its shortcut
    model = models.build(f"pspnet(backbone=resnet{depth})", 19, (64, 64, 3))
    assert trainable(model) + auxiliary + entrance == pytest.approx(published, abs=0.01e6)
