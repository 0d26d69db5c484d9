"""MobileNets against those of Keras, with its weights; nothing is downloaded."""

import numpy as np
import pytest
from model_battery import shaken

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.models import mobilenet_v2, mobilenet_v3

SIDE = 64
IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture
def in_cache(monkeypatch):
    """Stands in for the download: random weights, and the sizes of this test."""
    built = {}

    def stand_in(name):
        original = getattr(keras.applications, name)

        def build(input_shape, weights, **options):
            assert weights == "imagenet"
            assert input_shape == (224, 224, 3)
            built[name] = shaken(original(input_shape=(SIDE, SIDE, 3), weights=None, **options))
            return built[name]

        monkeypatch.setattr(keras.applications, name, build)

    for name in ("MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"):
        stand_in(name)
    return built


def check_equal(ours, theirs):
    scale = abs(theirs.numpy()).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


@pytest.mark.slow
def test_mobilenet_v2_computes_what_keras_does(in_cache):
    inputs = keras.Input(IMAGE.shape[1:])
    model = keras.Model(inputs, mobilenet_v2.mobilenet_v2(inputs, 32, 0.35))
    mobilenet_v2.load_imagenet(model, output_stride=32, width_multiplier=0.35)
    source = in_cache["MobileNetV2"]
    ends = {4: "block_2_add", 8: "block_5_add", 16: "block_12_add", 32: "block_16_project_BN"}
    probe = keras.Model(
        source.inputs, {stride: source.get_layer(name).output for stride, name in ends.items()}
    )
    theirs, ours = probe(IMAGE, training=False), model(IMAGE, training=False)
    for stride in ends:
        check_equal(ours[stride], theirs[stride])


@pytest.mark.parametrize("size", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_mobilenet_v3_computes_what_keras_does_but_six_times_as_large(size, in_cache):
    inputs = keras.Input(IMAGE.shape[1:])
    model = keras.Model(inputs, mobilenet_v3.mobilenet_v3(inputs, size, 32, 0.75))
    mobilenet_v3.load_imagenet(model, size, output_stride=32, width_multiplier=0.75)
    source = in_cache[f"MobileNetV3{size.title()}"]
    ours = model(IMAGE, training=False)
    check_equal(ours[32], 6 * source(IMAGE, training=False))
    number = {"large": 5, "small": 2}[size]
    probe = keras.Model(source.inputs, source.get_layer(f"expanded_conv_{number}/Add").output)
    check_equal(ours[8], probe(IMAGE, training=False))


@pytest.mark.slow
def test_a_network_starts_from_these_weights(in_cache):
    model = models.build("lraspp(weights=imagenet, size=small)", 3, (32, 32, 3))
    source = in_cache["MobileNetV3Small"]
    stem = model.get_layer("backbone_stem_conv").get_weights()[0]
    np.testing.assert_array_equal(stem, source.get_layer("Conv").get_weights()[0])


def test_without_a_connection_the_message_says_what_to_do(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://example.invalid: None")  # as Keras raises it

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    spec = "deeplab_v3_plus(backbone=mobilenet_v2, width_multiplier=0.35)"
    with pytest.raises(ConnectionError, match=r"MobileNetV2 could not be downloaded.*weights=None"):
        models.build(spec, 3, (32, 32, 3))


@pytest.mark.slow
def test_a_width_without_weights_is_refused():
    """Keras itself lists the widths it has; nothing is asked of the network for it."""
    with pytest.raises(ValueError, match="alpha must be one of"):
        models.build("deeplab_v3_plus(backbone=mobilenet_v2, width_multiplier=0.4)", 3, (32, 32, 3))
