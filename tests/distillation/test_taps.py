"""Taps: that they find a layer, in networks within networks too, in one forward pass."""

import numpy as np
import pytest
from tiny_networks import SHAPE, batch, network

from tfsegkd._keras import keras, tfmot
from tfsegkd.distillation import Distiller, Term
from tfsegkd.distillation.taps import tapped

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


def test_taps_inside_inner_networks():
    images, _ = batch()
    model = nested()
    want = {"logits": model(images), "head": model(images), **by_hand(model, images)}
    taps = tapped(model, want, "teacher")
    got = taps(images, training=False)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert taps.output_shape == {name: (None, *value.shape[1:]) for name, value in want.items()}


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
    assert calls == [False]


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
    assert tapped(model, ["conv"], "teacher").output_shape == {"conv": (None, *SHAPE[:2], 3)}
    assert tapped(model, ["inner/conv"], "teacher").output_shape["inner/conv"] == (None, 8, 12, 6)


def test_what_cannot_be_one_tap_is_refused():
    images = keras.Input(SHAPE)
    shared = layers.Conv2D(3, 1, name="shared")
    x = shared(shared(images))
    one, two = encoder(name="one"), encoder(name="two")
    x = layers.Add()([one(x)["deep"], two(x)["deep"]])
    model = keras.Model(images, layers.Conv2D(4, 1)(x), name="outer")
    with pytest.raises(ValueError, match=r"ambiguous. Expected one of \['one/early', 'two/early'\]"):
        tapped(model, ["early"], "teacher")
    with pytest.raises(ValueError, match="'shared' of 'outer' runs 2 times a pass"):
        tapped(model, ["shared"], "teacher")
    with pytest.raises(ValueError, match=r"'one/erly' not found in teacher 'outer'.*such as .*'one/early'"):
        tapped(model, ["one/erly"], "teacher")


def test_a_layer_that_runs_in_another_network_too():
    model = network("student")
    other = keras.Input(SHAPE)
    model.get_layer("conv")(other)
    assert tapped(model, ["conv"], "student").output_shape == {"conv": (None, 8, 12, 6)}


def test_wrapped_layers_keep_their_tap():
    pruned = tfmot.sparsity.keras.prune_low_magnitude(network("student"))
    assert tapped(pruned, ["stage", "conv"], "student").output_shape["conv"] == (None, 8, 12, 6)
