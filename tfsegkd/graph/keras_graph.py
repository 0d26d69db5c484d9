"""The graph that either Keras keeps of a network, under private names that only this file reads."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tfsegkd._keras import keras


class Producer(NamedTuple):
    """What makes a tensor of Keras.

    Args:
        layer: The layer, or Keras 3's operation.
        node: Its call.
        index: Which of the outputs of that call the tensor is.
    """

    layer: Any
    node: Any
    index: int


def is_functional(model: Any) -> bool:
    """Whether something is a functional network of tf_keras, or a sequential one whose input is known."""
    return isinstance(model, keras.Model) and bool(getattr(model, "_is_graph_network", False))


def runs_its_graph(model: Any) -> bool:
    """Whether calling a network of tf_keras runs its graph: a subclass may have one and do something else."""
    return is_functional(model) and type(model).call.__module__.startswith(keras.__name__ + ".")


def has_graph(model: Any) -> bool:
    """Whether a network of either Keras is built of tensors that can be followed back."""
    return is_functional(model) or hasattr(model, "_outputs_struct") or hasattr(model, "_functional")


def calls(model: keras.Model, key: Callable = lambda node: 0) -> Iterator:
    """Keras' own nodes of a functional network, the calls of its layers, in an order in which they can run.

    Args:
        key: What sorts those that do not depend on each other; Keras' order unless given.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from sorted(model._nodes_by_depth[depth], key=key)


def producer(tensor: Any) -> Producer:
    """What makes a tensor of either Keras."""
    layer, number, index = tensor._keras_history
    return Producer(layer, layer._inbound_nodes[number], index)


def input_structure(model: keras.Model) -> Any:
    """The inputs of a functional network, as it nests them."""
    return model._nested_inputs


def output_structure(model: Any) -> Any:
    """The outputs of a network of either Keras, as it nests them; None where it keeps none."""
    structure = getattr(model, "_nested_outputs", None)
    # A tensor has no truth value.
    return getattr(model, "_outputs_struct", None) if structure is None else structure


def bound_inputs(model: keras.Model, inputs: Any) -> list:
    """What a functional network is called with, in the order of `model.inputs`."""
    return model._flatten_to_reference_inputs(inputs)
