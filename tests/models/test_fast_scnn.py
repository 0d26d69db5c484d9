"""Fast-SCNN."""

import pytest
from model_battery import check_model, kernels

from tfsegkd import models


def test_it_does_what_every_network_does(tmp_path):
    check_model("fast_scnn(width_multiplier=0.25)", tmp_path)


def test_published_parameters():
    """1.11 M in the paper's table 5 for 19 classes, where BatchNorm is part of the convolutions."""
    assert kernels(models.build("fast_scnn", 19, (32, 32, 3))) == pytest.approx(1.11e6, abs=0.005e6)
