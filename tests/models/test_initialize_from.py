"""Networks that begin from a part that was trained before."""

import numpy as np
import pytest
from model_battery import trainable

from tfsegkd import models
from tfsegkd._keras import keras

ERFNET = "erfnet(width_multiplier=0.25, block=d, where=selective)"
ENCODER = ERFNET.replace(")", ", decoder=none)")
SHAPE = (32, 48, 3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    model = models.build(ENCODER, 5, SHAPE)
    path = tmp_path_factory.mktemp("encoder") / "encoder.keras"
    model.save(path)
    return model, path


def test_an_encoder_tells_classes_apart_at_the_size_of_its_frames(encoder):
    model, _ = encoder
    assert model.output_shape == (None, 32, 48, 5)
    whole = models.build(ERFNET, 5, SHAPE)
    shared = {layer.name for layer in model.layers} - {"encoder_classifier", "encoder_resize"}
    assert shared <= {layer.name for layer in whole.layers}
    classifier = model.get_layer("encoder_classifier")
    assert trainable(model) == sum(
        int(np.prod(weight.shape))
        for layer in [*(whole.get_layer(name) for name in shared), classifier]
        for weight in layer.trainable_weights
    )


def test_with_its_decoder_the_encoder_computes_what_it_did(encoder):
    model, path = encoder
    whole = models.build(ERFNET, 5, (64, 32, 3))
    fresh = models.initialize_from(whole, path)
    assert fresh and all(name.startswith(("decoder", "classifier")) for name in fresh)
    images = np.random.default_rng(0).uniform(0, 255, (1, *SHAPE)).astype("float32")
    before, after = (
        keras.Model(one.inputs, one.get_layer("stride8").output)
        for one in (model, models.at_size(whole, SHAPE[:2]))
    )
    np.testing.assert_array_equal(before(images), after(images))


def test_a_network_of_other_classes_keeps_its_own_classifier(tmp_path):
    models.build("unet(width=4)", 5, SHAPE).save(tmp_path / "five.keras")
    seven = models.build("unet(width=4)", 7, SHAPE)
    kernel = seven.get_layer("classifier").kernel.numpy()
    assert models.initialize_from(seven, tmp_path / "five.keras") == ["classifier"]
    np.testing.assert_array_equal(seven.get_layer("classifier").kernel, kernel)


def test_a_network_that_shares_nothing_is_refused(encoder):
    _, path = encoder
    # Some of their layers have a name and a shape in common, by chance.
    with pytest.raises(ValueError, match=r"'unet' cannot begin from .*encoder\.keras': only \d+ of its"):
        models.initialize_from(models.build("unet(width=4)", 5, SHAPE), path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.initialize_from(models.build("unet(width=4)", 5, SHAPE), "nowhere.keras")
