"""LR-ASPP."""

import pytest
from model_battery import check_model, frames, trainable

from tfsegkd import models


@pytest.mark.parametrize("size", ["large", "small"])
def test_it_does_what_every_network_does(size, tmp_path):
    check_model(f"lraspp(size={size}, width_multiplier=0.25, filters=8)", tmp_path)


def test_published_parameters():
    """`num_params` in the documentation of torchvision's lraspp_mobilenet_v3_large weights, 21 classes."""
    assert trainable(models.build("lraspp", 21, (32, 32, 3))) == 3_221_538


def test_fresh_values_stay_small():
    """Swishes and gates are six times the paper's; the first kernels make up for it."""
    model = models.build("lraspp(size=small, width_multiplier=0.5)", 3, (32, 32, 3))
    assert abs(model(frames((32, 32, 3)), training=False).numpy()).max() < 100.0
