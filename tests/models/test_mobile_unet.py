"""The small student."""

from model_battery import trainable

from tfsegkd import models


def test_it_has_the_size_that_it_promises():
    assert round(trainable(models.build("mobile_unet", 11, (32, 32, 3))) / 1e6, 2) == 0.27
