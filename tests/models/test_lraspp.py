"""LR-ASPP."""

import pytest
from model_battery import frames, trainable

from tfsegkd import models
from tfsegkd.graph import cost


def test_published_counts():
    """`num_params` and `_ops` of torchvision's lraspp_mobilenet_v3_large weights, for 21 classes at 520×520.

    Ours pads to 528×528, where torchvision's grids are 33, 65, 130 and 260 positions wide.
    """
    model = models.build("lraspp", 21, (520, 520, 3))
    assert trainable(model) == 3_221_538
    assert cost(model).macs == pytest.approx(2.086e9, rel=4e-3)


@pytest.mark.slow
def test_fresh_values_stay_small():
    """Swishes and gates are six times the paper's; the first kernels make up for it."""
    model = models.build("lraspp(size=small, width_multiplier=0.5)", 3, (32, 32, 3))
    assert abs(model(frames((32, 32, 3)), training=False).numpy()).max() < 100.0
