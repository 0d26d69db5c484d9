"""Layers of a quantized network given back to float, all or the worst, and which those are."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot
from tfsegkd.graph import Graph, Node, read
from tfsegkd.layers import FixedRange
from tfsegkd.quantization.configs import JointRounding, LayerConfig, QuantizedLayer
from tfsegkd.quantization.kinds import KERNELS
from tfsegkd.quantization.quantizers import FixedQuantizer
from tfsegkd.quantization.rewiring import copy, rewire, twin
from tfsegkd.quantization.scheme import PREFIX

layers = keras.layers


def strip(quantized: keras.Model) -> keras.Model:
    """The float network in a quantized one, for delegates that compute in float.

    Its kernels are the rounded ones, so that it says what the int8 network says but for the rounding of
    activations. Its layers bear the names that they had before `quantize`.

    Raises:
        ValueError: if the network is not quantized.
    """
    _check(quantized)
    graph = read(quantized)
    readers = graph.readers()

    def call(node, inputs, **options):
        layer = node.layer
        if isinstance(layer, JointRounding | FixedRange):
            return inputs
        if not isinstance(layer, QuantizedLayer):
            return _call(twin(layer), inputs, layer.get_weights(), options)
        kernel = _rounded_kernel(layer)
        if _is_relu(node, readers):
            high = _rounding(node, readers).limits[1]
            return layers.ReLU(high, name=layer.layer.name)(inputs)
        return _call(twin(layer.layer), inputs, _weights(layer, kernel), options)

    return rewire(graph, call)


def with_float_layers(quantized: keras.Model, names: Collection[str]) -> keras.Model:
    """A quantized network of which some layers compute in float, kernel and all.

    Between two of them, where nothing else reads it, the activation is not rounded either. All else stays in
    int8, and translations between the two cost time: measure.

    Args:
        quantized: As `quantize` made it, calibrated or trained.
        names: The layers with kernels to give back, by the names that they had before `quantize`.

    Raises:
        ValueError: if the network is not quantized, or has no such layers.
    """
    _check(quantized)
    graph = read(quantized)
    known = kernel_layers(quantized)
    for name in names:
        checks.one_of(name, known, "A layer to give back to float")
    unrounded = _unrounded_ends(graph, {*names})
    made: dict[str, keras.layers.Layer] = {}

    def call(node, inputs, **options):
        layer = node.layer
        if node.name in made:
            return made[node.name](inputs, **options)
        inner = layer.layer.name if isinstance(layer, QuantizedLayer) else None
        if inner in names or node.name in unrounded:
            return _half_rounded(layer, inner in names, node.name in unrounded, inputs, options)
        made[node.name] = twin(layer)
        return _call(made[node.name], inputs, layer.get_weights(), options)

    return rewire(graph, call)


def kernel_layers(quantized: keras.Model) -> tuple[str, ...]:
    """The layers whose kernels a quantized network rounds, by the names that they had before."""
    return tuple(
        layer.layer.name
        for layer in quantized.layers
        if isinstance(layer, QuantizedLayer) and layer.quantize_config.kernel is not None
    )


def float_layers(model: keras.Model) -> tuple[str, ...]:
    """The layers that `with_float_layers` has given back to float."""
    return tuple(
        layer.layer.name
        for layer in model.layers
        if isinstance(layer, QuantizedLayer)
        and type(layer.layer) in KERNELS
        and layer.quantize_config.kernel is None
    )


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
    """
    _check(quantized)
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


def _check(quantized):
    if not any(isinstance(layer, QuantizedLayer) for layer in quantized.layers):
        raise ValueError(
            f"{quantized.name!r} is not quantized. Expected a network made by tfsegkd.quantization.quantize."
        )


def _call(layer, inputs, weights, options):
    output = layer(inputs, **options)
    layer.set_weights(weights)
    return output


def _rounded_kernel(layer: QuantizedLayer) -> np.ndarray | None:
    """The kernel as the int8 network has it; None if this layer rounds none."""
    if not layer._weight_vars:
        return None
    kernel, quantizer, variables = layer._weight_vars[0]
    return quantizer(kernel, False, variables).numpy()


def _weights(layer: QuantizedLayer, kernel: np.ndarray | None) -> list[np.ndarray]:
    """The weights of the layer inside, as a new one like it takes them."""
    # A wrapped layer has lost its kernel to the wrapper.
    others = layer.layer.get_weights()
    if kernel is None:
        return others
    return [kernel, layer.layer.bias.numpy()] if layer.layer.use_bias else [kernel]


def _half_rounded(layer, without_kernel, without_output, inputs, options):
    """A new wrapper like `layer` that rounds less."""
    config = layer.quantize_config
    plain = LayerConfig(None if without_kernel else config.kernel, None if without_output else config.output)
    new = QuantizedLayer(twin(layer.layer), plain, name_prefix=PREFIX)
    output = new(inputs, **options)
    kernel = layer._weight_vars[0][0].numpy() if layer._weight_vars else None
    new.layer.set_weights(_weights(layer, kernel))
    for name, variable in new._output_quantizer_vars.items() if plain.output else ():
        variable.assign(layer._output_quantizer_vars[name])
    return output


def _rounding(node: Node, readers: dict[int, list[Node]]) -> Any:
    """The quantizer of what `node` gives, its own or one that it shares; None if it is not rounded."""
    if node.layer.quantize_config.output is not None:
        return node.layer.quantize_config.output
    following = readers[node.output.id]
    if len(following) == 1 and isinstance(following[0].layer, JointRounding):
        return following[0].layer.quantizer
    return None


def _is_relu(node: Node, readers: dict[int, list[Node]]) -> bool:
    """Whether a wrapper was put around a ReLU that is but the end of a range."""
    inner = node.layer.layer
    return (
        type(inner) is layers.Activation
        and inner.activation is keras.activations.linear
        and getattr(_rounding(node, readers), "limits", (None, None))[0] == 0.0
    )


def _head(node: Node, producers: dict[int, Node]) -> str | None:
    """The layer with a kernel whose operation ends with `node`; None if there is none."""
    while isinstance(node.layer, QuantizedLayer):
        if type(node.layer.layer) in KERNELS:
            return node.layer.layer.name
        if type(node.layer.layer) not in (layers.BatchNormalization, layers.ReLU, layers.Activation):
            return None
        node = producers[node.inputs[0].id]
        if isinstance(node.layer, QuantizedLayer) and node.layer.quantize_config.output is not None:
            return None
    return None


def _producers(graph: Graph) -> dict[int, Node]:
    return {tensor.id: node for node in graph.nodes for tensor in node.outputs}


def _unrounded_ends(graph: Graph, names: set[str]) -> set[str]:
    """The wrappers at the end of a layer of `names` that only such layers read."""
    producers, readers = _producers(graph), graph.readers()

    def is_free(node):
        if not isinstance(node.layer, QuantizedLayer) or _head(node, producers) not in names:
            return False
        # Rounding that is the ReLU as well stays.
        if node.layer.quantize_config.output is None or _is_relu(node, readers):
            return False
        after = readers[node.output.id]
        return bool(after) and all(
            isinstance(one.layer, QuantizedLayer) and one.layer.layer.name in names for one in after
        )

    return {node.name for node in graph.nodes if is_free(node)}


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
    model = copy(quantized)
    graph = read(model)
    producers = _producers(graph)
    switches = tf.Variable(tf.zeros(len(names)), trainable=False)
    numbers = {name: number for number, name in enumerate(names)}
    shared: dict[str, dict[int, int | None]] = {}
    for node in graph.nodes:
        layer = node.layer
        if isinstance(layer, JointRounding):
            number = numbers.get(_head(producers[node.inputs[0].id], producers))
            shared.setdefault(node.name, {})[node.kwargs["member"]] = number
        if not isinstance(layer, QuantizedLayer):
            continue
        config = layer.quantize_config
        if config.kernel is not None:
            kernel, quantizer, variables = layer._weight_vars[0]
            switched = _Switched(quantizer, switches, [numbers[layer.layer.name]])
            layer._weight_vars = [(kernel, switched, variables)]
        if config.output is not None and not isinstance(config.output, FixedQuantizer):
            end = numbers.get(_head(node, producers))
            layer._output_quantizers = [_Switched(config.output, switches, [end])]
    for layer in model.layers:
        if isinstance(layer, JointRounding):
            members = shared[layer.name]
            layer.quantizer = _Switched(
                layer.quantizer, switches, [members.get(number) for number in range(len(layer.members))]
            )
    return model, switches
