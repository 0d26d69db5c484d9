"""DeepLabV3, against the counts of torchvision."""

import pytest
from model_battery import auxiliary, macs, parameters, trainable

from tfsegkd import models
from tfsegkd.graph import cost
from tfsegkd.models.zoo import deeplab_v3


@pytest.mark.parametrize(
    ("options", "channels", "published", "gmacs", "tolerance"),
    [
        ("backbone=resnet50", 1024, 42_004_074, 178.722, 1e-5),
        pytest.param("backbone=resnet101", 1024, 60_996_202, 258.743, 1e-5, marks=pytest.mark.slow),
        # Its grid is 33 positions wide, so ours pads to 528×528.
        pytest.param(
            "backbone=mobilenet_v3_large, output_stride=16, rates=(12, 24, 36)",
            40,
            11_029_328,
            10.452,
            2e-3,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_counts(options, channels, published, gmacs, tolerance):
    """`num_params` and `_ops` of torchvision's segmentation weights, for 21 classes at 520×520."""
    model = models.build(f"deeplab_v3({options})", 21, (520, 520, 3))
    assert trainable(model) + parameters(auxiliary(channels, 21)) == published
    counted = cost(model).macs + macs(auxiliary(channels, 21), 520, 520)
    assert counted == pytest.approx(gmacs * 1e9, rel=tolerance)


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_rates_follow_the_stride(output_stride, rates, monkeypatch):
    seen = []
    monkeypatch.setattr(deeplab_v3, "aspp", lambda x, filters, rates, *_, **__: seen.extend(rates) or x)
    spec = f"deeplab_v3(backbone=resnet18, width_multiplier=0.125, filters=8, output_stride={output_stride})"
    models.build(spec, 3, (32, 32, 3))
    assert seen == rates
