"""Feature extraction finds layers, in nested networks too, in one forward pass."""

import numpy as np
import pytest
from tiny_networks import SHAPE, batch, network

from tfsegkd import models
from tfsegkd._keras import keras, tfmot
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.distillation.features import feature_extractor

layers = keras.layers


def encoder(name="encoder"):
    images = keras.Input(SHAPE)
    x = layers.Conv2D(5, 3, strides=2, padding="same", name="early")(images)
    x = layers.BatchNormalization(name="norm")(x)
    both = layers.Add(name="twice")([x, x])
    return keras.Model(images, {"fine": x, "deep": layers.ReLU(name="late")(both)}, name=name)


def nested(calls=None, name="nested", **options):
    """A network that holds a network that holds a network."""
    keras.utils.set_random_seed(3)
    counted = network("counted", 5, calls=calls)
    images = keras.Input(SHAPE)
    x = layers.Rescaling(1 / 255, name="scale")(images)
    features = encoder()(x, **options)
    middle = keras.Input(SHAPE)
    core = keras.Model(middle, layers.ReLU(name="after")(counted(middle)), name="core")
    y = layers.UpSampling2D(2, name="enlarge")(features["deep"])
    y = layers.Conv2D(4, 1, name="head")(layers.Concatenate(name="join")([y, core(images)]))
    return keras.Model(images, y, name=name)


def by_hand(model, images, training=False):
    """The same, layer by layer."""
    inner, core = model.get_layer("encoder"), model.get_layer("core")
    early = inner.get_layer("early")(images / 255)
    late = inner.get_layer("late")(2 * inner.get_layer("norm")(early, training=training))
    counted = core.get_layer("counted")
    stage = keras.Model(counted.inputs, counted.get_layer("stage").output)(images, training=training)
    return {"encoder/early": early, "late": late, "core/counted/stage": stage}


def test_layers_inside_inner_networks():
    images, _ = batch()
    model = nested()
    want = {"logits": model(images), "head": model(images), **by_hand(model, images)}
    network = feature_extractor(model, want, "teacher")
    got = network(images, training=False)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert network.output_shape == {name: (None, *value.shape[1:]) for name, value in want.items()}


def test_inner_networks_run_once_and_in_the_mode_they_are_called_in():
    calls = []
    model = nested(calls)
    images, masks = batch()
    terms = [Term("hint", at=(at, "stage")) for at in ("core/counted/stage",)]
    terms += [Term("attention", at=("encoder/early", "stage"))]
    distiller = Distiller(model, network("student"), terms)
    distiller.compile("sgd")
    del calls[:]
    distiller.fit(images, masks, verbose=0)
    # Traced once for the start of the adapter, and once for the steps.
    assert calls == [False, False]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_student_with_inner_networks_learns(frozen):
    # Called with training=False, the inner network stays in inference mode.
    model = nested(**({"training": False} if frozen else {}))
    norm = model.get_layer("encoder").get_layer("norm")
    before, moving = norm.gamma.numpy(), norm.moving_mean.numpy()
    distiller = Distiller(network("teacher"), model, [Term("hint", at=("stage", "encoder/late"))], 0.0)
    distiller.compile("sgd")
    distiller.fit(*batch(), verbose=0)
    assert not np.array_equal(before, norm.gamma)
    assert np.array_equal(moving, norm.moving_mean) == frozen


def test_a_layer_of_the_network_goes_before_an_inner_one():
    inner = network("inner")
    images = keras.Input(SHAPE)
    x = layers.Conv2D(3, 1, name="conv")(images)
    model = keras.Model(images, inner(x), name="outer")
    assert feature_extractor(model, ["conv"], "teacher").output_shape == {"conv": (None, *SHAPE[:2], 3)}
    assert feature_extractor(model, ["inner/conv"], "teacher").output_shape["inner/conv"] == (None, 8, 12, 6)


def test_what_cannot_be_one_layer_is_refused():
    images = keras.Input(SHAPE)
    shared = layers.Conv2D(3, 1, name="shared")
    x = shared(shared(images))
    one, two = encoder(name="one"), encoder(name="two")
    x = layers.Add()([one(x)["deep"], two(x)["deep"]])
    model = keras.Model(images, layers.Conv2D(4, 1)(x), name="outer")
    with pytest.raises(ValueError, match=r"ambiguous. Expected one of \['one/early', 'two/early'\]"):
        feature_extractor(model, ["early"], "teacher")
    with pytest.raises(ValueError, match="'shared' of 'outer' runs 2 times in a pass"):
        feature_extractor(model, ["shared"], "teacher")
    with pytest.raises(ValueError, match=r"'one/erly' not found in teacher 'outer'.*such as .*'one/early'"):
        feature_extractor(model, ["one/erly"], "teacher")


def test_a_layer_that_runs_in_another_network_too():
    model = network("student")
    other = keras.Input(SHAPE)
    model.get_layer("conv")(other)
    assert feature_extractor(model, ["conv"], "student").output_shape == {"conv": (None, 8, 12, 6)}


def test_wrapped_layers_keep_their_layer():
    pruned = tfmot.sparsity.keras.prune_low_magnitude(network("student"))
    assert feature_extractor(pruned, ["stage", "conv"], "student").output_shape["conv"] == (None, 8, 12, 6)


def ladder(named=False):
    """Down to stride 4 with a squeeze, and up again past stride 2."""
    images = keras.Input((16, 24, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="down2")(images)
    x = skip = layers.Conv2D(4, 3, padding="same", name="end2")(x)
    x = layers.MaxPooling2D(name="down4")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    x = layers.Multiply(name="stride4" if named else "end4")([x, gate])
    x = layers.UpSampling2D(name="up2")(x)
    x = layers.Concatenate(name="join2")([x, skip])
    x = layers.UpSampling2D(name="up1")(x)
    return keras.Model(images, layers.Conv2D(5, 1, name="head")(x), name="ladder")


@pytest.mark.parametrize(
    ("named", "layer_name", "layer"),
    [
        (False, "stride2", "end2"),  # and not join2, which the decoder leaves stride 2 with
        (False, "stride4", "end4"),
        (False, "stride8", "end4"),
        (False, "stride16", "end4"),
        (True, "stride16", "stride4"),
    ],
)
def test_a_stride_that_no_layer_is_named_after(named, layer_name, layer):
    model = ladder(named)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 3)).astype("float32")
    found = feature_extractor(model, [layer_name], "student")(images)[layer_name]
    np.testing.assert_array_equal(found, keras.Model(model.input, model.get_layer(layer).output)(images))


def test_a_network_without_a_stride_has_no_layer_of_one():
    for layer_name in ("stride1", "stride0", "stride3", "stride9"):
        with pytest.raises(ValueError, match=f"'{layer_name}' not found in student 'ladder'"):
            feature_extractor(ladder(), [layer_name], "student")
    images = keras.Input((None, None, 3))
    anysize = keras.Model(images, layers.Conv2D(4, 3, strides=2, name="down")(images), name="anysize")
    with pytest.raises(ValueError, match="'stride2' not found in student 'anysize'"):
        feature_extractor(anysize, ["stride2"], "student")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ("unet(width=2)", ["context", "stage4"]),
        ("segnet(width=4, unpooling=upsample)", ["stage5", "stage4"]),
        ("erfnet(width_multiplier=0.25)", ["stride8", "stride8"]),
        ("fcn(backbone=resnet18, width_multiplier=0.125)", ["stride8", "stride8"]),
    ],
)
def test_the_preset_fits_networks_without_its_layers(spec, where):
    network = models.build(spec, 4, (64, 96, 3))
    wanted = [term.layers[1] for term in parse_terms(["preset"]) if term.at]
    network = feature_extractor(network, wanted, "student")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    by_name = keras.Model(network.input, [network.get_layer(name).output for name in where])(images)
    for layer_name, feature in zip(wanted, by_name, strict=True):
        np.testing.assert_array_equal(network(images)[layer_name], feature, err_msg=layer_name)
