"""Registers layer types of the user in the layer table, and checks their descriptions."""

from collections.abc import Callable

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.graph import layer_spec
from tfsegkd.graph.channels import ChannelGraph
from tfsegkd.graph.layer_spec import LayerSpec, Scale, is_homogeneous, scale_of
from tfsegkd.graph.layer_table import PASSAGES

layers = keras.layers
_SIZE, _CHANNELS = (6, 8), 4
_TOLERANCE = 1e-4


def register(layer_type: type, spec: LayerSpec, example: Callable | None = None) -> None:
    """Tells adoption, pruning, grouping, costs and quantization of a layer of your own, all at once.

    A small network is made with the layer in the middle: the description of its channels, scale and
    MACs must be true there.

    Args:
        layer_type: The class of tf_keras.
        spec: What it is.
        example: Makes a layer of the type, for one that has arguments.

    Raises:
        TypeError: if it is no layer class, or none can be made without an `example`.
        ValueError: for a type that is registered already, an unknown word for channels, or a layer that does
            something else than `spec` says.

    Example:
        import tf_keras as keras

        class Mirrored(keras.layers.Layer):
            def call(self, inputs):
                return inputs[:, :, ::-1]

        tfsegkd.graph.register(Mirrored, tfsegkd.graph.LayerSpec(channels="through"))
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, layers.Layer)):
        raise TypeError(f"Expected a class of tf_keras layers. Received: {layer_type!r}.")
    if isinstance(spec.channels, str) and spec.channels not in PASSAGES:
        raise ValueError(
            f"The channels of {layer_type.__name__!r} must pass in one of the ways {list(PASSAGES)} or by a "
            f"rule, or be None. Received: {spec.channels!r}."
        )
    layer_spec.enter(spec, layer_type)
    try:
        _check(layer_type, spec, example)
    except BaseException:
        layer_spec.remove(layer_type)
        raise


def _check(layer_type, spec, example):
    try:
        layer = (example or layer_type)()
    except TypeError as error:
        raise TypeError(
            f"A layer of type {layer_type.__name__!r} cannot be made to look at what it does: {error}. Pass "
            f"example=a function that makes one."
        ) from None
    if type(layer) is not layer_type:
        raise TypeError(f"example must make a {layer_type.__name__}. Received: a {type(layer).__name__}.")
    several = spec.channels in ("united", "joined") or spec.scale is Scale.SHARED
    model, given, made = _network(layer, 1 + several, layer_type)
    if spec.channels is not None:
        _check_channels(layer_type, spec, model)
    random = np.random.default_rng(0)
    values = [[random.normal(size=shape).astype(np.float32) for shape in given] for _ in range(3)]
    outputs = [np.asarray(made(one)) for one in values]
    if is_homogeneous(layer) and not _close(made([2.0 * one for one in values[0]]), 2.0 * outputs[0]):
        raise _contradiction(layer_type, "homogeneous=True", "twice the input does not give twice the output")
    if scale_of(layer) in (Scale.SAME, Scale.POOLED):
        _check_scale(layer_type, scale_of(layer), values, outputs=outputs)
    if callable(spec.macs):
        _check_macs(layer_type, spec, layer, shapes=given, output=outputs[0])


def _network(layer, count, layer_type):
    """A network with the layer in the middle, the shapes it is given, and the layer as a function."""
    images = keras.Input((*_SIZE, 3))
    ends = [layers.Conv2D(_CHANNELS, 1, name=f"before_{number}")(images) for number in range(count)]
    try:
        x = layer(ends if count > 1 else ends[0])
        if len(x.shape) < 2:
            raise ValueError(f"it gives {x.shape}")
        model = keras.Model(images, layers.Dense(3, name="behind")(x), name="probe")
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"A layer of type {layer_type.__name__!r} cannot be called on {count} tensors of shape "
            f"{(None, *_SIZE, _CHANNELS)}: {reason}. Pass an example that can."
        ) from error
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    shapes = [(2, *_SIZE, _CHANNELS)] * count
    function = keras.Model(ends if count > 1 else ends[0], x)
    return model, shapes, lambda values: function(values if count > 1 else values[0], training=False)


def _check_channels(layer_type, spec, model):
    """Without a channel the network must compute what it does where nobody reads that channel."""
    claim = f"channels={spec.channels!r}" if isinstance(spec.channels, str) else "its rule for channels"
    channels = ChannelGraph(model)
    behind = channels.layers["behind"].inputs
    images = np.random.default_rng(1).normal(size=(2, *_SIZE, 3)).astype(np.float32)
    for group in channels.prunable:
        for unit in group.units:
            keep = channels.all()
            keep[unit] = False
            try:
                less = channels.rebuild(channels.edits(keep))
            except (TypeError, ValueError) as error:
                raise _contradiction(layer_type, claim, f"it cannot lose a channel: {error}") from error
            whole = model.get_weights()
            kernel, bias = model.get_layer("behind").get_weights()
            kernel[~keep[behind]] = 0.0
            model.get_layer("behind").set_weights([kernel, bias])
            expected = model(images, training=False)
            model.set_weights(whole)
            if not _close(less(images, training=False), expected):
                raise _contradiction(layer_type, claim, "what it gives depends on channels that it has lost")


def _check_scale(layer_type, scale, values, outputs):
    claim = f"scale={scale}"
    for given, made in zip(values, outputs, strict=True):
        if scale is Scale.SAME and not np.isin(made, [*np.ravel(given[0]), 0.0]).all():
            raise _contradiction(layer_type, claim, "its output has values that it was not given")
        low, high = min(given[0].min(), 0.0), max(given[0].max(), 0.0)
        if made.min() < low - _TOLERANCE or made.max() > high + _TOLERANCE:
            raise _contradiction(layer_type, claim, "its output has values beyond those that it was given")


def _check_macs(layer_type, spec, layer, shapes, output):
    count = spec.macs(layer, [(None, *shape[1:]) for shape in shapes], [(None, *output.shape[1:])])
    if count is not None and (not isinstance(count, int) or count < 0):
        raise _contradiction(
            layer_type, "its rule for MACs", f"it counts {count!r}, and no whole number from 0"
        )


def _close(one, other) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * max(1.0, float(np.abs(other).max())))
    )


def _contradiction(layer_type, claim, found) -> ValueError:
    return ValueError(
        f"A layer of type {layer_type.__name__!r} contradicts its registration with {claim}: {found}. "
        f"Register what it does."
    )
