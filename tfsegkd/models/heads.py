"""Heads of networks: logits or probabilities, and their conversion to logits of two or more classes."""

import tensorflow as tf

from tfsegkd.graph.keras_graph import has_graph, output_structure, producer
from tfsegkd.graph.layer_spec import types
from tfsegkd.layers.binary import two_logits

LOGITS, SOFTMAX, SIGMOID, UNKNOWN = "logits", "softmax", "sigmoid", "unknown"

# Layers that may follow a head's activation, besides those that only move values. By name, since
# both Kerases have it. Resize is Keras 3's operation; Cast is what both insert themselves.
_IDLE = ("Dropout", "Identity", "Cast", "Resize")
_LEAST_PROBABILITY = 1e-30
_LEAST_OF_FILE = 1e-7  # where 8 bits or something unknown made the probabilities


def output_names(model) -> list[str]:
    """The names of a network's outputs, in the order of `model.outputs`."""
    structure = output_structure(model)
    if isinstance(structure, dict):
        return list(map(str, sorted(structure)))
    return list(map(str, getattr(model, "output_names", None) or range(len(model.outputs))))


def check_one_output(model, what: str, fix: str) -> None:
    """Refuses a network of several outputs if none was chosen.

    Args:
        model: A network with outputs, of either Keras.
        what: 'student' or the like, for the message.
        fix: What to do, the last sentence of the message.

    Raises:
        ValueError: with the names of the outputs.
    """
    if len(model.outputs) > 1:
        raise ValueError(
            f"{what} {model.name!r} must have one output, the logits of each class and pixel. Received: "
            f"{output_names(model)}. {fix}"
        )


def head_of(model, index: int = 0) -> str:
    """The kind of a network's output: 'logits', 'softmax', 'sigmoid', or else 'unknown'.

    A resize or a crop may follow the activation.

    Args:
        model: A network of tf_keras or Keras 3.
        index: The index of the output.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs or not has_graph(model):
        return UNKNOWN
    return _head(outputs[index])


def _head(tensor) -> str:
    while True:
        layer, node, output_index = producer(tensor)
        part = _unwrapped(layer)
        if getattr(part, "outputs", None):  # a network inside
            tensor = part.outputs[output_index]
            continue
        kind = _activation(part, node)
        if kind is not None:
            return kind
        inputs = node.input_tensors
        inputs = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        passes = type(part).__name__ in (*_moving(), *_IDLE) or _is_linear(part)
        if not passes or not inputs:
            return LOGITS
        tensor = inputs[0]


def _moving() -> list[str]:
    return [kind.__name__ for kind in types(lambda spec: spec.moves)]


def _unwrapped(layer):
    """The layer inside of TF-MOT's wrappers."""
    while type(layer).__name__ in ("QuantizeWrapper", "QuantizeWrapperV2", "PruneLowMagnitude"):
        layer = layer.layer
    return layer


def _activation(layer, node) -> str | None:
    """The head's activation if this layer computes it; otherwise None."""
    name = type(layer).__name__
    if name == "Softmax" and getattr(layer, "axis", -1) not in (-1, 3):
        return None
    if name in ("Softmax", "Sigmoid"):
        return name.lower()
    activation = getattr(layer, "activation", None)
    activation = getattr(activation, "activation", activation)  # of a quantized layer
    # An operation that Keras 2 wrapped into a layer: tf.nn.softmax, tf.sigmoid.
    activation = getattr(layer, "function", activation)
    called = getattr(activation, "__name__", None) or type(activation).__name__.lower()
    for kind in (SOFTMAX, SIGMOID):
        if called in (kind, f"{kind}_v2"):
            return kind
    return None


def _is_linear(layer) -> bool:
    """Whether an activation is the identity, or a cast to float32."""
    called = getattr(getattr(layer, "activation", None), "__name__", None)
    return type(layer).__name__ == "Activation" and called == "linear"


def check_head(model, head: str) -> None:
    """Refuses a softmax over one channel.

    Args:
        model: A network of one output.
        head: As of `head_of`.

    Raises:
        ValueError: with what to do.
    """
    if head == SOFTMAX and model.outputs[0].shape[-1] == 1:
        raise ValueError(
            f"{model.name!r} ends in a softmax over one channel, which is 1 everywhere. "
            f"Expected a sigmoid over one channel, or a softmax over two or more. Change its last activation."
        )


def as_logits(output: tf.Tensor, head: str = LOGITS) -> tf.Tensor:
    """Converts a network's output to logits whose softmax are its probabilities.

    One channel is a class against its background and becomes two. Differentiable.

    Args:
        output: The output.
        head: As of `head_of`; with 'unknown' the values decide: those from 0 to 1 are probabilities if there
            is one channel, or if they sum to 1.

    Shapes:
        output: (N, H, W, C). returns: (N, H, W, max(C, 2)); float32 unless `output` are logits of a half
        precision.
    """
    channels = output.shape[-1]
    if head == UNKNOWN:
        return _told_by_values(output)
    if head == LOGITS:
        return two_logits(output) if channels == 1 else output
    # Keras' own losses look there too: the logarithm of a probability that is rounded to 0 has no gradient.
    logits = getattr(output, "_keras_logits", None)
    if logits is not None:
        return two_logits(logits) if channels == 1 else logits
    least = _LEAST_PROBABILITY if output.dtype == tf.float32 else _LEAST_OF_FILE
    return _of_probabilities(tf.cast(output, tf.float32), head, least)


def _of_probabilities(probabilities, head, least):
    def log(values):
        return tf.math.log(tf.maximum(values, least))

    if head == SOFTMAX:
        return log(probabilities)
    others = tf.math.log(tf.maximum(1 - probabilities, 1e-7))
    if probabilities.shape[-1] == 1:
        return tf.concat([others, log(probabilities)], -1)
    return log(probabilities) - others


def _told_by_values(output):
    output = tf.cast(output, tf.float32)
    is_share = tf.reduce_all((output >= 0) & (output <= 1.01))
    if output.shape[-1] == 1:
        return tf.cond(
            is_share,
            lambda: _of_probabilities(output, SIGMOID, _LEAST_OF_FILE),
            lambda: two_logits(output),
        )
    # Loose enough for half precision and for 8 bits.
    sums_to_one = tf.reduce_all(tf.abs(tf.reduce_sum(output, -1) - 1) < 0.05)
    # Hard predictions are no probabilities; other checks report them.
    is_soft = tf.reduce_any((output > 0) & (output < 1))
    return tf.cond(
        is_share & sums_to_one & is_soft,
        lambda: _of_probabilities(output, SOFTMAX, _LEAST_OF_FILE),
        lambda: output,
    )
