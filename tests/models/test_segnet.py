"""SegNet."""

import pytest
from model_battery import trainable

from tfsegkd import models
from tfsegkd.graph import cost


def test_published_counts():
    """29.45 M parameters, and 325.5 GMAC at 512×1024, which is 256 times this image."""
    model = models.build("segnet", 19, (32, 64, 3))
    assert trainable(model) == pytest.approx(29.45e6, abs=0.005e6)
    assert cost(model).macs * 256 == pytest.approx(325.5e9, rel=5e-4)


def test_unpooling_costs_no_macs():
    masked, plain = (
        models.build(f"segnet(width=4, unpooling={kind})", 19, (32, 64, 3)) for kind in ("mask", "upsample")
    )
    assert trainable(masked) == trainable(plain)
    assert cost(masked).macs == cost(plain).macs


def test_values_return_to_where_the_maxima_were():
    """Each unpooling reads its stage: before its pooling and after."""
    model = models.build("segnet(width=4)", 3, (64, 64, 3))
    for stage in range(1, 6):
        unpool = model.get_layer(f"unpool{stage}")
        values, before, maxima = unpool.inbound_nodes[0].inbound_layers
        assert (before.name, maxima.name) == (f"stage{stage}", f"pool{stage}")
        assert values.name == ("pool5" if stage == 5 else f"decoder{stage + 1}")
