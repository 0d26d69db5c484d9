"""Every network by its name: sizes, taps, parameters, other sizes, files."""

import numpy as np
import pytest

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.models.registry import published_taps

# Small members of every family; a new network is added here.
SPECS = {
    "deeplab_v3_plus": "deeplab_v3_plus(weights=None, filters=16)",
    "mobile_unet": "mobile_unet(width_multiplier=0.5)",
    "unet": "unet(width=4)",
}
ODD = (50, 70, 3)
NUM_CLASSES = 5


def shaken(model, seed=0):
    """Moves every weight a little, BatchNorm's statistics included, so that none is at its initial value."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + 0.05 * rng.random(w.shape, np.float32) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module", params=sorted(SPECS))
def network(request):
    return request.param, shaken(models.build(SPECS[request.param], NUM_CLASSES, ODD))


def frames(shape, seed=1):
    return np.random.default_rng(seed).uniform(0, 255, (2, *shape)).astype(np.float32)


def test_every_name_is_tried_here():
    assert sorted(SPECS) == models.names()


def test_logits_have_the_size_of_the_input(network):
    _, model = network
    assert model.input_shape == (None, *ODD)
    assert model.output_shape == (None, *ODD[:2], NUM_CLASSES)
    out = model(frames(ODD), training=False).numpy()
    assert out.shape == (2, *ODD[:2], NUM_CLASSES)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert abs(out[0] - out[1]).max() > 0
    assert out.min() < 0 or out.sum(-1).std() > 1e-3  # logits, not shares


def test_pixels_are_normalised_inside(network):
    _, model = network
    normalization = model.get_layer("normalization")
    assert not normalization.trainable
    fresh = models.build(SPECS[network[0]], NUM_CLASSES, ODD).get_layer("normalization")
    seen = fresh(np.broadcast_to(np.float32([0, 127, 255]), (1, 3, 3, 3)).transpose(0, 2, 1, 3)).numpy()
    assert seen.min() >= -1.01
    assert seen.max() <= 1.01
    assert abs(seen).max() > 0.98


def test_layers_are_flat_named_and_serialisable(network):
    name, model = network
    assert model.name == name
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    for layer in model.layers:
        assert not isinstance(layer, keras.Model | keras.layers.Lambda)
        assert "OpLambda" not in type(layer).__name__
        # Keras calls an unnamed layer by its class and a number, as in re_lu_3.
        assert layer.name.replace("_", "").rstrip("0123456789") != type(layer).__name__.lower()
    assert len({weight.name for weight in model.weights}) == len(model.weights)


def test_published_taps_exist_in_the_order_in_which_they_run(network):
    name, model = network
    published = published_taps()[name]
    assert models.taps(model) == [layer.name for layer in model.layers if layer.name in published]
    assert set(models.taps(model)) == set(published)
    for tap in published:
        assert len(model.get_layer(tap).output.shape) == 4
    assert published[-1] == "logits"


def test_taps_named_after_a_stride_have_it(network):
    _, model = network
    for tap in models.taps(model):
        if tap.startswith("stride"):
            stride = int(tap.removeprefix("stride"))
            assert model.get_layer(tap).output.shape[1:3] == (64 // stride, 80 // stride)


def test_at_size_keeps_the_weights_and_equals_a_network_built_at_that_size(network):
    name, model = network
    resized = models.at_size(model, (64, 33))
    assert resized.output_shape == (None, 64, 33, NUM_CLASSES)
    for old, new in zip(model.get_weights(), resized.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [layer.name for layer in resized.layers] == [layer.name for layer in model.layers]
    assert [layer.trainable for layer in resized.layers] == [layer.trainable for layer in model.layers]
    built = models.build(SPECS[name], NUM_CLASSES, (64, 33, 3))
    built.set_weights(model.get_weights())
    images = frames((64, 33, 3))
    np.testing.assert_array_equal(resized(images, training=False), built(images, training=False))
    # The copy is the network's own: training it does not touch the first.
    before = model.get_weights()
    shaken(resized, seed=2)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert models.at_size(model, ODD[:2]) is model


def test_at_size_refuses_a_network_tied_to_its_size():
    inputs = keras.Input((4, 6, 3))
    x = keras.layers.Flatten()(inputs)
    tied = keras.Model(inputs, keras.layers.Dense(2)(x), name="tied")
    with pytest.raises(ValueError, match=r"'tied' cannot take images of \(8, 6\).*\(72, 2\).*\(144, 2\)"):
        models.at_size(tied, (8, 6))


def test_a_saved_network_comes_back_exactly(network, tmp_path):
    _, model = network
    model.save(tmp_path / "network.keras")
    again = models.load(tmp_path / "network.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.get_layer("normalization").trainable is False
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    images = frames(ODD)
    np.testing.assert_array_equal(model(images, training=False), again(images, training=False))


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 30, 3)])
@pytest.mark.parametrize("name", ["mobile_unet", "unet"])
def test_tiny_images_work(name, shape):
    model = models.build(SPECS[name], NUM_CLASSES, shape)
    assert model(frames(shape), training=False).shape == (2, *shape[:2], NUM_CLASSES)


def test_the_unet_has_the_papers_parameters():
    num_classes, expected, norms = 21, 0, 0
    widths = [64, 128, 256, 512, 1024]
    for before, after in zip([3, *widths], widths, strict=False):
        expected += 9 * before * after + 9 * after * after
        norms += 2 * after
    for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True):
        expected += 4 * deep * shallow + shallow  # learned upsampling, with bias
        expected += 9 * 2 * shallow * shallow + 9 * shallow * shallow
        norms += 2 * shallow
    expected += 64 * num_classes + num_classes
    model = models.build("unet", num_classes, (32, 32, 3))
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == expected + 2 * norms
    assert abs(expected - 31.03e6) < 0.01e6
    assert model.count_params() == expected + 4 * norms + 6  # BatchNorm's statistics, the normalisation


def test_the_mobile_student_is_small():
    counts = [
        models.build(f"mobile_unet(width_multiplier={width})", 11, (32, 32, 3)).count_params()
        for width in (0.5, 1.0)
    ]
    assert counts[0] < counts[1]
    assert 0.1e6 < counts[1] < 0.5e6


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unett", r"Unknown model 'unett'\. Expected one of .*Did you mean 'unet'"),
        ("unet(depth=3)", r"Wrong arguments for model 'unet'.*\['width'\]"),
        ("unet(num_classes=3)", "Wrong arguments for model 'unet'"),
        ("unet(width=0)", "width must be a number above 0"),
        ("mobile_unet(width_multiplier=-1)", "width_multiplier must be a number above 0"),
        ("deeplab_v3_plus(backbone=resnet)", r"backbone must be one of \['efficientnet_lite0'\]"),
        ("deeplab_v3_plus(weights=coco)", r"weights must be one of \['imagenet', None\]"),
    ],
)
def test_wrong_specs_list_the_choices(spec, message):
    with pytest.raises(ValueError, match=message):
        models.build(spec, NUM_CLASSES, (32, 32, 3))


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1), (0, 32, 3), (1, 32, 32, 3)])
def test_input_shapes_must_be_rgb(shape):
    with pytest.raises(ValueError, match=r"input_shape must be \(height, width, 3\)"):
        models.build("unet(width=4)", NUM_CLASSES, shape)


@pytest.mark.parametrize("num_classes", [0, 1, True, "many"])
def test_there_are_at_least_two_classes(num_classes):
    with pytest.raises(ValueError, match="num_classes must be a number from 2"):
        models.build("unet(width=4)", num_classes, (32, 32, 3))


def test_files_that_are_no_networks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No model at .*nowhere\.keras"):
        models.load(tmp_path / "nowhere.keras")
    for name in ("text.keras", "text.h5"):
        (tmp_path / name).write_text("not a network")
        with pytest.raises(ValueError, match=rf"Cannot read .*{name}' as a Keras model"):
            models.load(tmp_path / name)
