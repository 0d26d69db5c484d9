"""DeepLabV3+ on every backbone."""

import pytest
from model_battery import check_parts, classifier, conv, inverted_residual, pooled, separable

from tfsegkd import models
from tfsegkd.models import backbones
from tfsegkd.models.zoo.aspp import fitting_rates


def test_the_teacher_line_by_line():
    """EfficientNet-Lite0's table at output stride 16, and fig. 2 of the paper."""
    parts, before = [conv(2, 3, 3, 32)], 32
    for stride, kernel, after, repeats, down in (
        (2, 3, 16, 1, False),
        (4, 3, 24, 2, True),
        (8, 5, 40, 2, True),
        (16, 3, 80, 3, True),
        (16, 5, 112, 3, False),
        (16, 5, 192, 4, False),
        (16, 3, 320, 1, False),
    ):
        expansion = 1 if after == 16 else 6
        parts += inverted_residual(stride, before, after, expansion, down, kernel)
        parts += (repeats - 1) * inverted_residual(stride, after, after, kernel=kernel)
        before = after
    parts += [conv(16, 1, 320, 256), *3 * separable(16, 320, 256), *pooled(320, 256)]
    parts += [conv(16, 1, 5 * 256, 256), conv(4, 1, 24, 48)]
    parts += [*separable(4, 256 + 48, 256), *separable(4, 256, 256), classifier(4, 256, 21)]
    check_parts(models.build("deeplab_v3_plus(weights=None)", 21, (64, 80, 3)), parts)


def test_rates_that_fit_reach_as_far_over_the_grid_as_the_paper_s_over_33():
    wanted = {(33, 33): (6, 12, 18), (12, 16): (2, 4, 6), (2, 3): (1, 2, 3), (64, 99): (6, 12, 18)}
    for grid, expected in wanted.items():
        assert fitting_rates(grid) == expected
    model = models.build("deeplab_v3_plus(weights=None, filters=8, rates=fit)", 3, (192, 256, 3))
    names = {layer.name for layer in model.layers}
    assert {"aspp_2_depthwise_conv", "aspp_4_depthwise_conv", "aspp_6_depthwise_conv"} <= names
    assert model.get_layer("aspp_6_depthwise_conv").dilation_rate == (6, 6)
    with pytest.raises(
        ValueError, match=r"rates of model 'deeplab_v3_plus' must be one of \['fit'\]\. Received: 'small'"
    ):
        models.build("deeplab_v3_plus(weights=None, rates=small)", 3, (64, 64, 3))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [name for name in backbones.NAMES if "lite" not in name])
def test_every_backbone_has_the_layers(backbone):
    spec = f"deeplab_v3_plus(backbone={backbone}, weights=None, filters=8, width_multiplier=0.125)"
    model = models.build(spec, 3, (48, 50, 3))
    sizes = {name: model.get_layer(name).output.shape[1:3] for name in models.feature_layers(model)}
    assert sizes["stride4"] == (12, 16)
    assert sizes["stride8"] == (6, 8)
    assert sizes["stride16"] == sizes["aspp"] == (3, 4)
    assert sizes["logits"] == (48, 50)
