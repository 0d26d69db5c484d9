"""A model read as nodes and built again computes the same."""

import numpy as np
import pytest
import tensorflow as tf
from channel_oracle import RandomNetwork, shake

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import read, rebuild

layers = keras.layers


def outputs(model, **options):
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    random = np.random.default_rng(0)
    images = [random.uniform(0, 2, (2, *shape[1:])).astype(np.float32) for shape in shapes]
    return [o.numpy() for o in tf.nest.flatten(model(images if len(images) > 1 else images[0], **options))]


def check_same(model, twin):
    for one, other in zip(outputs(model), outputs(twin), strict=True):
        np.testing.assert_array_equal(one, other)


def small():
    inputs = keras.Input((6, 6, 3), name="pixels")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    return shake(keras.Model(inputs, layers.ReLU(name="relu")(x), name="small"))


@pytest.mark.parametrize("spec", ["random", "unet(width=2)"])
def test_nothing_changes_and_nothing_is_shared(spec):
    model = RandomNetwork(3).model if spec == "random" else models.build(spec, 3, (16, 16, 3))
    twin = rebuild(read(model))
    check_same(model, twin)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert [w.name for w in twin.weights] == [w.name for w in model.weights]
    assert not {id(layer) for layer in twin.layers} & {id(layer) for layer in model.layers}
    calls = [len(layer.inbound_nodes) for layer in model.layers]
    rebuild(read(model))
    assert calls == [len(layer.inbound_nodes) for layer in model.layers], "the model was left alone"


def test_a_shared_layer_has_several_nodes():
    graph = read(RandomNetwork(3).model)
    names = [node.name for node in graph.nodes]
    assert len(names) == len(set(names))
    inputs = keras.Input((4, 4, 2), name="pixels")
    conv = layers.Conv2D(2, 1, name="conv")
    model = shake(keras.Model(inputs, conv(conv(inputs))))
    nodes = read(model).nodes
    assert [node.name for node in nodes] == ["pixels", "conv", "conv"]
    assert nodes[2].inputs == nodes[1].outputs
    twin = rebuild(read(model))
    assert len(twin.layers) == 2
    check_same(model, twin)


def test_inner_models_are_opened_and_shared_ones_stay_shared():
    inner = small()
    inputs = keras.Input((6, 6, 3), name="image")
    other = layers.Conv2D(3, 1, name="conv")(inputs)  # the name that the inner model has, too
    joined = layers.Add(name="sum")([inner(other), inner(inputs)])
    model = shake(keras.Model(inputs, joined))
    graph = read(model)
    assert sorted(set(graph.layers())) == ["conv", "image", "norm", "relu", "small_conv", "sum"]
    assert [node.name for node in graph.nodes].count("small_conv") == 2
    twin = rebuild(graph)
    check_same(model, twin)
    assert twin.count_params() == model.count_params()


def test_inner_models_run_in_the_mode_they_were_called_in():
    inputs = keras.Input((6, 6, 3), name="image")
    model = keras.Model(inputs, small()(inputs, training=False))
    twin = rebuild(read(model))
    for one, other in zip(outputs(model, training=True), outputs(twin, training=True), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(outputs(twin, training=True)[0], outputs(twin)[0])


def test_ops_lambdas_and_constants_are_carried_over():
    factor = 3.0
    inputs = [keras.Input((4, 4, 2), name="a"), keras.Input((4, 4, 2), name="b")]
    x = tf.nn.relu(inputs[0] * 2.0 - inputs[1])
    x = layers.Lambda(lambda t: t * factor, name="times")(x[:, 1:, ::2])
    model = keras.Model(inputs, {"left": x, "right": tf.concat([x, x], -1)})
    twin = rebuild(read(model))
    check_same(model, twin)
    assert set(twin.output) == {"left", "right"}


@pytest.mark.parametrize("whole", [False, True])
def test_trainable_flags_are_kept(whole):
    model = small()
    if whole:
        model.trainable = False
    else:
        model.get_layer("norm").trainable = False
    twin = rebuild(read(model))
    assert [layer.trainable for layer in twin.layers] == [layer.trainable for layer in model.layers]
    assert len(twin.trainable_weights) == len(model.trainable_weights) == (0 if whole else 2)


def test_configurations_and_weights_can_be_edited():
    model = small()
    conv, norm = model.get_layer("conv").get_weights(), model.get_layer("norm").get_weights()
    edited = rebuild(
        read(model),
        {"conv": {"filters": 2}},
        {"conv": [conv[0][..., 1:3], conv[1][1:3]], "norm": [weight[1:3] for weight in norm]},
    )
    np.testing.assert_allclose(outputs(edited)[0], outputs(model)[0][..., 1:3], atol=1e-6)


def test_weights_that_do_not_fit_are_named():
    model = small()
    with pytest.raises(ValueError, match=r"'conv' \(Conv2D\) .*weights of shapes .*Change its config"):
        rebuild(read(model), {"conv": {"filters": 2}})


def test_a_layer_that_hides_its_arguments_is_named():
    class Hidden(layers.Layer):
        def __init__(self, size, **kwargs):
            super().__init__(**kwargs)

        def get_config(self):
            return {"name": self.name}

    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, Hidden(3, name="hidden")(inputs))
    with pytest.raises(ValueError, match=r"'hidden' \(Hidden\) cannot be rebuilt.*get_config"):
        rebuild(read(model))


@pytest.mark.parametrize("model", [None, layers.ReLU(), keras.Sequential([layers.ReLU()])])
def test_what_is_not_functional_is_refused(model):
    with pytest.raises(TypeError, match="functional tf_keras model"):
        read(model)


def test_a_sequential_that_begins_with_its_input_is_opened():
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.ReLU()], name="inner")
    inputs = keras.Input((6, 6, 3), name="pixels")
    model = shake(keras.Model(inputs, layers.Conv2D(2, 1, name="head")(inner(inputs)), name="outer"))
    graph = read(model)
    assert len(graph.layers()) >= 3
    check_same(model, rebuild(graph))
