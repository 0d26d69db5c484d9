"""The cost of a network: parameters, multiply-accumulates and activation bytes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph.keras_graph import calls
from tfsegkd.graph.layer_spec import inherited
from tfsegkd.graph.requirements import check_functional

Shape = tuple[int | None, ...]

_PRODUCT_OPS = ("matmul", "einsum", "tensordot", "nn.conv", "nn.depthwise", "nn.separable")


@dataclass(frozen=True)
class Cost:
    """What one image costs a network.

    Args:
        parameters: Stored numbers, BatchNorm's moving statistics included, as `model.summary()` counts them.
        macs: Multiply-accumulates.
        activation_bytes: The outputs of all layers as float32, added up (not the peak of what lives at once).
        input_shapes: The shape of each input that these figures hold for, without the batch.
        uncounted: Names of layers that multiply by matrices in a way this count does not know; `macs` is
            too low by their share.

    Example:
        graph.cost(student).parameters == student.count_params()  # True
    """

    parameters: int
    macs: int
    activation_bytes: int
    input_shapes: tuple[tuple[int, ...], ...]
    uncounted: tuple[str, ...] = ()


def cost(model: keras.Model) -> Cost:
    """Counts what one image costs `model` at the input size it was built for.

    Convolutions (dilated and grouped ones, too), depthwise, separable and transposed convolutions and dense
    layers count; a transposed convolution costs kernel_h·kernel_w·Cin·Cout at every *input* position. All
    else counts zero: BatchNorm folds into the convolution before it, and biases, activations, pools, resizes
    and sums are small. A layer called twice costs its MACs twice and its parameters once. The wrappers and
    quantizers that TF-MOT adds cost nothing: they leave before deployment.

    Args:
        model: A functional (or built sequential) network with a fixed input size. Models inside are opened.

    Returns:
        Parameters, MACs and bytes of activations.

    Raises:
        TypeError: if `model` is not a functional tf_keras model.
        ValueError: if the size of an input or of a layer's output is not fixed.

    Example:
        found = graph.cost(student)
        found.macs, found.parameters
    """
    found = list(_calls(model))
    weights = {id(weight): weight for call in found for weight in call.weights}
    counted = [(call.layer.name, _macs(call)) for call in found]
    return Cost(
        parameters=sum(math.prod(weight.shape) for weight in weights.values()),
        macs=sum(macs or 0 for _, macs in counted),
        activation_bytes=4 * sum(math.prod(shape[1:]) for call in found for shape in call.outputs),
        input_shapes=tuple(shape[1:] for shape in _shapes(model.input_shape)),
        uncounted=tuple(dict.fromkeys(name for name, macs in counted if macs is None)),
    )


@dataclass(frozen=True)
class LayerCost:
    """What one image costs in a layer.

    Args:
        macs: Multiply-accumulates, of all its calls; 0 for a layer without any.
        shape: The shape of its output, without the batch.

    Example:
        graph.layer_costs(student)["scores"].shape  # (2, 3, 11)
    """

    macs: int
    shape: tuple[int, ...]


def layer_costs(model: keras.Model) -> dict[str, LayerCost]:
    """The layers that one image runs through, with what each costs; as of `cost`.

    Args:
        model: As of `cost`.

    Returns:
        Costs by the name of the layer, in the order in which they run.

    Raises:
        TypeError, ValueError: as of `cost`.

    Example:
        costs = graph.layer_costs(student)
        max(costs, key=lambda name: costs[name].macs)  # the layer that costs most
    """
    found: dict[str, LayerCost] = {}
    for call in _calls(model):
        before = found[call.layer.name].macs if call.layer.name in found else 0
        found[call.layer.name] = LayerCost(before + (_macs(call) or 0), tuple(call.outputs[0][1:]))
    return found


class _Call(NamedTuple):
    """One call of a layer, its TF-MOT wrappers taken off; a shared layer has several."""

    layer: keras.layers.Layer
    weights: list[tf.Variable]
    inputs: list[Shape]
    outputs: list[Shape]


def _calls(model: keras.Model) -> Iterator[_Call]:
    """Yields every layer call of `model`, the models inside it opened."""
    check_functional(model, "cost")
    for node in calls(model):
        inputs, outputs = _shapes(node.input_shapes), _shapes(node.output_shapes)
        layer, weights = _unwrap(node.layer)
        _check_fixed(model, layer, outputs)
        if isinstance(layer, keras.Model):
            _check_same_size(layer, inputs)
            yield from _calls(layer)
        elif not node.is_input and not _of_tfmot(layer):
            yield _Call(layer, weights, inputs, outputs=outputs)


def _unwrap(layer: keras.layers.Layer) -> tuple[keras.layers.Layer, list[tf.Variable]]:
    """A layer without TF-MOT's wrappers, and its own weights without those of quantizers and masks."""
    if not (_of_tfmot(layer) and isinstance(layer, keras.layers.Wrapper)):
        return layer, layer.weights
    inner, weights = _unwrap(layer.layer)
    # While it runs, a QuantizeWrapper puts a tensor in the place of the kernel, and only it still knows
    # the variable.
    return inner, weights + [weight for weight, *_ in getattr(layer, "_weight_vars", ())]


def _of_tfmot(layer: keras.layers.Layer) -> bool:
    # By module and not by class, because TF-MOT exports neither its wrappers nor its QuantizeLayer.
    return any(base.__module__.startswith("tensorflow_model_optimization.") for base in type(layer).__mro__)


def _macs(call: _Call) -> int | None:
    """The multiply-accumulates of one call; None where the layer multiplies in a way we do not know."""
    known = inherited(call.layer).macs
    if known is None:
        return None if _multiplies(call) else 0
    return known(call.layer, call.inputs, call.outputs) if callable(known) else known


def _multiplies(call: _Call) -> bool:
    """Whether a layer that the table has no formula for may multiply by matrices."""
    if any(name in getattr(call.layer, "symbol", "") for name in _PRODUCT_OPS):
        return True
    return any(sum(size > 1 for size in weight.shape) > 1 for weight in call.weights)


def _check_fixed(model: keras.Model, layer: keras.layers.Layer, outputs: list[Shape]) -> None:
    for shape in outputs:
        if None in shape[1:]:
            raise ValueError(
                f"The cost of model {model.name!r} depends on the size of its input, which is not fixed: "
                f"layer {layer.name!r} has output shape {shape}. Expected a number for every axis but the "
                "first. Build the model with a fixed input_shape, such as (360, 480, 3)."
            )


def _check_same_size(inner: keras.Model, inputs: list[Shape]) -> None:
    expected = _shapes(inner.input_shape)
    if [shape[1:] for shape in expected] != [shape[1:] for shape in inputs]:
        raise ValueError(
            f"The model {inner.name!r} inside another one was built for inputs {expected} and is called with "
            f"{inputs}, so the sizes inside are not known. Build it with the input_shape it is called with."
        )


def _shapes(nested: Any) -> list[Shape]:
    """A shape, or a structure of shapes, as a list of shapes."""
    if isinstance(nested, tf.TensorShape):
        return [tuple(nested.as_list())]
    if isinstance(nested, tuple) and all(size is None or isinstance(size, int) for size in nested):
        return [nested]
    children = nested.values() if isinstance(nested, dict) else nested
    return [shape for child in children for shape in _shapes(child)]
