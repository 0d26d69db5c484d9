"""DeepLabV3+ on every backbone."""

import pytest
from model_battery import check_model

from tfsegkd import models
from tfsegkd.models import backbones


@pytest.mark.parametrize(
    "spec",
    [
        "deeplab_v3_plus(weights=None, filters=16)",
        "deeplab_v3_plus(backbone=mobilenet_v3_small, weights=None, filters=8, width_multiplier=0.5)",
    ],
)
def test_it_does_what_every_network_does(spec, tmp_path):
    check_model(spec, tmp_path)


@pytest.mark.parametrize("backbone", [name for name in backbones.NAMES if name != "efficientnet_lite0"])
def test_every_backbone_has_the_taps(backbone):
    spec = f"deeplab_v3_plus(backbone={backbone}, weights=None, filters=8, width_multiplier=0.125)"
    model = models.build(spec, 3, (48, 50, 3))
    sizes = {name: model.get_layer(name).output.shape[1:3] for name in models.taps(model)}
    assert sizes["stride4"] == (12, 16)
    assert sizes["stride8"] == (6, 8)
    assert sizes["stride16"] == sizes["aspp"] == (3, 4)
    assert sizes["logits"] == (48, 50)
