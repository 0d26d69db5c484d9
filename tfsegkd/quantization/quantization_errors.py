"""Quantization errors, layer by layer."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras, tfmot
from tfsegkd.graph import probe, read, rebuild
from tfsegkd.quantization.configs import QuantizedLayer, SharedRange
from tfsegkd.quantization.quantized_layers import check_quantized, kernel_layer, kernel_layers
from tfsegkd.quantization.quantizers import FixedQuantizer

# So much is made of a layer that rounding leaves as it is.
_MOST_DECIBELS = 200.0


def layer_errors(quantized: keras.Model, images: np.ndarray) -> dict[str, float]:
    """How much each layer alone costs: the network with that layer rounded and all others in float.

    Args:
        quantized: A calibrated or trained network of `quantize`.
        images: (N, H, W, 3), 0…255.

    Returns:
        Power of the logits' error over power of the logits, by the layer's name before `quantize`, worst
        first. What is rounded is a layer's kernel and the activation that it ends in.

    Raises:
        ValueError: if the network is not quantized.

    Example:
        errors = quantization.layer_errors(quantized, frames)
        max(errors, key=errors.get)  # the layer that costs most
    """
    check_quantized(quantized)
    names = kernel_layers(quantized)
    switched, switches = _with_switches(quantized, names)
    images = tf.convert_to_tensor(images, tf.float32)

    @tf.function
    def forward():
        return switched(images, training=False)

    exact = forward().numpy().astype(np.float64)
    power = max(float(np.mean(np.square(exact))), 1e-12)
    errors = {}
    for number, name in enumerate(names):
        switches.assign(tf.one_hot(number, len(names)))
        errors[name] = float(np.mean(np.square(forward().numpy() - exact))) / power
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def layer_sqnr(quantized: keras.Model, images: np.ndarray) -> dict[str, float]:
    """How far each layer's output rises above the noise of all rounding up to there.

    Args:
        quantized: A calibrated or trained network of `quantize`.
        images: (N, H, W, 3), 0…255.

    Returns:
        Signal-to-quantization-noise ratio in dB, 10·log10(power of the output in float over power of its
        difference to that in int8), at most 200, by the layer's name before `quantize`, worst first. An
        output is what the layer's operation ends in, its BatchNorm and ReLU included; layers with kernels
        have one.

    Raises:
        ValueError: if the network is not quantized.

    Example:
        decibels = quantization.layer_sqnr(quantized, frames)
    """
    check_quantized(quantized)
    exact, _ = _with_switches(quantized, kernel_layers(quantized))
    images = tf.convert_to_tensor(images, tf.float32)
    signals, rounded = (_layer_outputs(model)(images, training=False) for model in (exact, quantized))
    found = {}
    for name in signals:
        signal = signals[name].numpy().astype(np.float64)
        power, noise = np.square(signal).sum(), np.square(signal - rounded[name].numpy()).sum()
        found[name] = _MOST_DECIBELS
        if noise > power * 10 ** (-_MOST_DECIBELS / 10):
            found[name] = float(10 * np.log10(max(power, np.finfo(float).tiny) / noise))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _layer_outputs(model: keras.Model) -> keras.Model:
    """The network with the outputs of its layers with kernels, by the layers' names before `quantize`."""

    def layer_outputs(graph):
        found = {}
        for node in graph.nodes:
            last = graph.producers[node.inputs[0].id] if isinstance(node.layer, SharedRange) else node
            # What comes later in an operation takes the place of what it began with.
            found[kernel_layer(last, graph.producers)] = node.output
        found.pop(None, None)
        return found

    return probe(model, layer_outputs)


class _Switched(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds where its switch is on, and cuts off where a ReLU would in any case.

    Args:
        switches: A switch, 1.0 or 0.0, for each layer.
        numbers: The layer of each member of a shared range; None for what is never rounded.
    """

    def __init__(self, quantizer, switches: tf.Variable, numbers: Sequence[int | None]):
        self._quantizer, self._switches, self._numbers = quantizer, switches, numbers

    def build(self, tensor_shape, name, layer):
        return self._quantizer.build(tensor_shape, name, layer)

    def __call__(self, inputs, training, weights, member=0):
        low, high = getattr(self._quantizer, "limits", (None, None))
        exact = inputs if low is None else tf.maximum(inputs, low)
        exact = exact if high is None else tf.minimum(exact, high)
        number = self._numbers[member]
        if number is None:
            return exact
        rounded = self._quantizer(inputs, training, weights, member=member)
        return tf.where(self._switches[number] > 0, rounded, exact)

    def get_config(self):
        raise NotImplementedError("Switches are for measuring and are not saved.")


def _with_switches(quantized: keras.Model, names: Sequence[str]) -> tuple[keras.Model, tf.Variable]:
    """A copy of a network in which each of `names` is rounded or not, and the switches, all off."""
    model = rebuild(read(quantized))
    graph = read(model)
    producers = graph.producers
    switches = tf.Variable(tf.zeros(len(names)), trainable=False)
    numbers = {name: number for number, name in enumerate(names)}
    shared: dict[str, dict[int, int | None]] = {}
    for node in graph.nodes:
        layer = node.layer
        if isinstance(layer, SharedRange):
            number = numbers.get(kernel_layer(producers[node.inputs[0].id], producers))
            shared.setdefault(node.name, {})[node.kwargs["member"]] = number
        if not isinstance(layer, QuantizedLayer):
            continue
        config = layer.quantize_config
        if config.kernel is not None:
            kernel, quantizer, variables = layer._weight_vars[0]
            switched = _Switched(quantizer, switches, [numbers[layer.layer.name]])
            layer._weight_vars = [(kernel, switched, variables)]
        if config.output is not None and not isinstance(config.output, FixedQuantizer):
            end = numbers.get(kernel_layer(node, producers))
            layer._output_quantizers = [_Switched(config.output, switches, [end])]
    for layer in model.layers:
        if isinstance(layer, SharedRange):
            members = shared[layer.name]
            layer.quantizer = _Switched(
                layer.quantizer, switches, [members.get(number) for number in range(len(layer.members))]
            )
    return model, switches
