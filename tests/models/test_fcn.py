"""FCN, against the counts of torchvision."""

import pytest
from model_battery import auxiliary, macs, parameters, trainable

from tfsegkd import models
from tfsegkd.graph import cost


def test_published_counts():
    """`num_params` and `_ops` of torchvision's fcn_resnet50 weights, for 21 classes at 520×520."""
    model = models.build("fcn", 21, (520, 520, 3))
    assert trainable(model) + parameters(auxiliary(1024, 21)) == 35_322_218
    counted = cost(model).macs + macs(auxiliary(1024, 21), 520, 520)
    assert counted == pytest.approx(152.717e9, abs=1e6)
