"""ENet."""

import pytest
from model_battery import check_model, trainable

from tfsegkd import models


@pytest.mark.parametrize(
    "spec", ["enet(width_multiplier=0.5)", "enet(width_multiplier=0.5, unpooling=upsample)"]
)
def test_it_does_what_every_network_does(spec, tmp_path):
    check_model(spec, tmp_path)


def bottleneck(channels, middle):
    """1×1 down to a quarter, `middle` weights with a bias, 1×1 up, each with BatchNorm."""
    inner = channels // 4
    return channels * inner + 2 * inner + middle + 3 * inner + inner * channels + 2 * channels


def test_published_parameters():
    """Table 1 of the paper, line by line; its table 4 gives 0.37 M, which our 0.36 M reach with PReLUs."""
    expected = 13 * 27 + 2 * 16
    expected += 16 * 4 * 16 + 2 * 16 + 9 * 16 * 16 + 3 * 16 + 16 * 64 + 2 * 64  # 16 → 64 channels
    expected += 4 * bottleneck(64, 9 * 16 * 16)
    expected += 64 * 4 * 32 + 2 * 32 + 9 * 32 * 32 + 3 * 32 + 32 * 128 + 2 * 128  # 64 → 128
    expected += 12 * bottleneck(128, 9 * 32 * 32) + 4 * bottleneck(128, 10 * 32 * 32)
    for before, after in ((128, 64), (64, 16)):
        inner = after // 4
        expected += before * inner + 2 * inner + 9 * inner * inner + 3 * inner + inner * after + 2 * after
        expected += before * after + 2 * after
    expected += 2 * bottleneck(64, 9 * 16 * 16) + bottleneck(16, 9 * 4 * 4)
    expected += 4 * 16 * 12 + 12
    counted = trainable(models.build("enet", 12, (32, 32, 3)))
    assert counted == expected
    # A PReLU has a slope for each channel: two inside each block and one after it.
    slopes = 16 + (4 + 1) * (2 * 16 + 64) + (16 + 1) * (2 * 32 + 128) + 4 * 32
    assert counted + slopes == pytest.approx(0.365e6, abs=0.005e6)
