"""Float fallback: all or some layers of a quantized network compute in float again."""

from collections.abc import Callable, Collection
from typing import Any

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import Graph, Node, read, rebuild, rewrite
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.graph.layer_table import twin
from tfsegkd.layers import FixedRange
from tfsegkd.quantization.configs import LayerConfig, QuantizedLayer, SharedRange
from tfsegkd.quantization.quantized_layers import check_quantized, kernel_layer, kernel_layers
from tfsegkd.quantization.scheme import PREFIX

layers = keras.layers


def strip(quantized: keras.Model) -> keras.Model:
    """The float network in a quantized one, for delegates that compute in float.

    Its kernels are the rounded ones, so that it computes what the int8 network does but for the rounding of
    activations. Its layers bear the names that they had before `quantize`.

    Args:
        quantized: A network of `quantize`.

    Returns:
        A float network.

    Raises:
        ValueError: if the network is not quantized.

    Example:
        quantization.strip(quantized).output_shape  # (None, 32, 48, 11)
    """
    check_quantized(quantized)
    graph = read(quantized)
    consumers = graph.consumers

    def step(node, here, build):
        layer = node.layer
        if isinstance(layer, SharedRange | FixedRange):
            return here.inputs[0]
        if not isinstance(layer, QuantizedLayer):
            return build.keep(here)
        if _is_relu(node, consumers):
            float_layer = layers.ReLU(_output_quantizer(node, consumers).limits[1], name=layer.layer.name)
        else:
            float_layer = twin(layer.layer)
        weights = layer.float_weights()
        if layer.kernel is not None:
            weights[0] = layer.quantized_kernel()
        return build.add(float_layer, here.args[0], weights, like=node.output, **here.kwargs)

    return rebuild(rewrite(graph, step))


def with_float_layers(quantized: keras.Model, names: Collection[str]) -> keras.Model:
    """A quantized network of which some layers compute in float, kernel and all.

    Between two of them, where nothing else reads it, the activation is not rounded either. All else stays in
    int8, and translations between the two cost time: measure.

    Args:
        quantized: As `quantize` made it, calibrated or trained.
        names: The layers with kernels to leave in float, by the names that they had before `quantize`.

    Returns:
        A copy.

    Raises:
        ValueError: if the network is not quantized, or has no such layers.

    Example:
        mixed = quantization.with_float_layers(quantized, ["scores"])
        quantization.float_layers(mixed)  # ('scores',)
    """
    check_quantized(quantized)
    graph = read(quantized)
    known = kernel_layers(quantized)
    for name in names:
        checks.one_of(name, known, "A layer to leave in float")
    float_outputs = _float_outputs(graph, {*names})

    def step(node, here, build):
        layer = node.layer
        inner = layer.layer.name if isinstance(layer, QuantizedLayer) else None
        if inner not in names and node.name not in float_outputs:
            return build.keep(here)
        without = {"kernel": inner in names, "output": node.name in float_outputs}
        return build.keep(here, layer=_partly_quantized(layer, without), weights=_filled(layer))

    return rebuild(rewrite(graph, step))


def float_layers(model: keras.Model) -> tuple[str, ...]:
    """The layers that `with_float_layers` has left in float.

    Args:
        model: A network of `quantize` or `with_float_layers`.

    Returns:
        Their names.

    Example:
        mixed = quantization.with_float_layers(quantized, ["scores"])
        quantization.float_layers(mixed)  # ('scores',)
    """
    return tuple(
        layer.layer.name
        for layer in model.layers
        if isinstance(layer, QuantizedLayer)
        and spec_of(layer.layer).kernel is not None
        and layer.quantize_config.kernel is None
    )


def _partly_quantized(layer: QuantizedLayer, without: dict[str, bool]) -> QuantizedLayer:
    """A new wrapper like `layer` that rounds less."""
    config = layer.quantize_config
    kept = {part: None if without[part] else getattr(config, part) for part in without}
    return QuantizedLayer(twin(layer.layer), LayerConfig(**kept), name_prefix=PREFIX)


def _filled(layer: QuantizedLayer) -> Callable:
    """What gives a wrapper that rounds less the weights and ranges of `layer`."""

    def fill(new: QuantizedLayer):
        new.set_float_weights(layer.float_weights())
        for name, variable in new._output_quantizer_vars.items() if new.quantize_config.output else ():
            variable.assign(layer._output_quantizer_vars[name])

    return fill


def _output_quantizer(node: Node, consumers: dict[int, list[Node]]) -> Any:
    """The quantizer of the output of `node`, its own or one that it shares; None if it is not rounded."""
    if node.layer.quantize_config.output is not None:
        return node.layer.quantize_config.output
    following = consumers[node.output.id]
    if len(following) == 1 and isinstance(following[0].layer, SharedRange):
        return following[0].layer.quantizer
    return None


def _is_relu(node: Node, consumers: dict[int, list[Node]]) -> bool:
    """Whether a wrapper was put around a ReLU that is but the end of a range."""
    inner = node.layer.layer
    return (
        type(inner) is layers.Activation
        and inner.activation is keras.activations.linear
        and getattr(_output_quantizer(node, consumers), "limits", (None, None))[0] == 0.0
    )


def _float_outputs(graph: Graph, names: set[str]) -> set[str]:
    """The wrappers at the end of a layer of `names` that only such layers read."""
    producers, consumers = graph.producers, graph.consumers

    def is_free(node):
        if not isinstance(node.layer, QuantizedLayer) or kernel_layer(node, producers) not in names:
            return False
        # Rounding that is the ReLU as well stays.
        if node.layer.quantize_config.output is None or _is_relu(node, consumers):
            return False
        after = consumers[node.output.id]
        return bool(after) and all(
            isinstance(one.layer, QuantizedLayer) and one.layer.layer.name in names for one in after
        )

    return {node.name for node in graph.nodes if is_free(node)}
