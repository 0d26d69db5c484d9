"""Every network that we build, without some of its channels, against itself with nobody reading them."""

import numpy as np
import pytest
from channel_oracle import pick, shake, zeroed
from test_prune_channels import check_exact

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost
from tfsegkd.pruning import prune_channels

# Small members of each family.
SPECS = (
    "bisenet_v2(width_multiplier=0.25)",
    "deeplab_v3(backbone=resnet18, width_multiplier=0.125, filters=16)",
    "deeplab_v3(backbone=mobilenet_v2, width_multiplier=0.35, filters=16)",
    "deeplab_v3_plus(weights=None, filters=16)",
    "enet(width_multiplier=0.5)",
    "enet(width_multiplier=0.5, unpooling=upsample)",
    "erfnet(width_multiplier=0.5)",
    "erfnet(width_multiplier=0.5, block=dg2s)",
    "fast_scnn(width_multiplier=0.25)",
    "fcn(backbone=resnet50, width_multiplier=0.125)",
    "lite_unet(stages=4, width=16, weights=None)",
    "lraspp(size=large, width_multiplier=0.25, filters=8)",
    "lraspp(size=small, width_multiplier=0.25, filters=8)",
    "mobile_unet",
    "pspnet(backbone=resnet18, width_multiplier=0.125, filters=16)",
    "segnet(width=4)",
    "segnet(width=4, unpooling=upsample)",
    "unet(width=4)",
)
SIZE = (64, 64, 3)


def test_every_network_is_among_them():
    assert {spec.split("(")[0] for spec in SPECS} == {*models.names()}


@pytest.fixture
def float64():
    """Rounding is not what is looked for, and gates of six times a value enlarge it."""
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx("float32")


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_pruned_networks_are_exact(spec, float64):
    model = shake(models.build(spec, 4, SIZE))
    channels = ChannelGraph(model)
    assert len(channels.prunable) > 10
    frozen = {reason for group in channels.groups for reason in group.frozen}
    assert frozen <= {"'pixels' is an input of the network", "'logits' is an output of the network"}, (
        "all that we build is known"
    )
    images = np.random.default_rng(0).uniform(0, 2, (2, *SIZE))
    for seed in range(3):
        keep = pick(channels, seed, share=0.6)
        pruned = channels.rebuild(channels.edits(keep))
        expected = zeroed(model, channels.kept(keep))(images).numpy()
        np.testing.assert_allclose(pruned(images), expected, atol=1e-10 * max(1, np.abs(expected).max()))
        counted = cost(pruned)
        assert channels.counts(keep) == (counted.parameters, counted.macs)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_half_of_every_network_and_all_of_it(spec, float64, tmp_path):
    model = shake(models.build(spec, 4, SIZE))
    pruned, report = prune_channels(model, "macs:0.6", "l1", round_to=2, compensate=False)
    check_exact(model, pruned, report)
    assert 0.5 < report.after.macs / report.before.macs <= 0.6
    same, report = prune_channels(model, "macs:1.0")
    images = np.random.default_rng(0).uniform(0, 2, (1, *SIZE))
    np.testing.assert_array_equal(same(images), model(images))
    assert not report.changed
    pruned.save(tmp_path / "pruned.keras")
    loaded = models.load(tmp_path / "pruned.keras")
    np.testing.assert_array_equal(loaded(images), pruned(images))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
