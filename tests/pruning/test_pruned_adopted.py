"""Networks written elsewhere lose channels exactly once they are adopted."""

import numpy as np
import pytest
from channel_oracle import pick, zeroed
from foreign_networks import NETWORKS, NUM_CLASSES

from tfsegkd import models, runtime
from tfsegkd._keras import keras
from tfsegkd.graph import ChannelGraph, cost
from tfsegkd.pruning import prune_channels
from tfsegkd.quantization import quantize

pytest.importorskip("keras_cv")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_an_adopted_network_is_pruned_exactly(name):
    model, _ = models.adopt(NETWORKS[name]())
    channels = ChannelGraph(model)
    images = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype(np.float32)
    for seed in range(4):
        keep = pick(channels, seed, share=0.7)
        pruned = channels.rebuild(channels.edits(keep))
        assert cost(pruned).parameters < cost(model).parameters
        expected = zeroed(model, channels.kept(keep))(images).numpy()
        np.testing.assert_allclose(pruned(images), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_an_adopted_network_goes_on_after_pruning(name, tmp_path):
    """It is saved, loaded, trained, quantized and converted."""
    model, _ = models.adopt(NETWORKS[name]())
    pruned, report = prune_channels(model, "macs:0.6", "l1", round_to=2)
    assert report.changed and report.after.macs <= 0.6 * report.before.macs
    pruned.save(tmp_path / "pruned.keras")
    loaded = models.load(tmp_path / "pruned.keras")
    random = np.random.default_rng(1)
    images = random.uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), pruned(images))
    loaded.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = loaded.get_weights()
    loaded.fit(images, random.integers(0, NUM_CLASSES, images.shape[:3]), verbose=0)
    assert any((new != old).any() for new, old in zip(loaded.get_weights(), before, strict=True))
    content = runtime.convert(quantize(loaded, calibration=[images]), "uint8", "int8")
    assert runtime.profile(content).float_ops == []
