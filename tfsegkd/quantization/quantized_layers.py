"""The layers of a quantized network that have kernels, and the nodes in which their operations end."""

from tfsegkd._keras import keras
from tfsegkd.graph import Node
from tfsegkd.graph.layer_spec import spec_of
from tfsegkd.quantization.configs import QuantizedLayer
from tfsegkd.quantization.fusion import is_norm

layers = keras.layers


def check_quantized(quantized: keras.Model) -> None:
    """Raises ValueError for a float network."""
    if not any(isinstance(layer, QuantizedLayer) for layer in quantized.layers):
        raise ValueError(
            f"{quantized.name!r} is not quantized. Expected a network made by tfsegkd.quantization.quantize."
        )


def kernel_layers(quantized: keras.Model) -> tuple[str, ...]:
    """The layers whose kernels a quantized network rounds, by the names that they had before."""
    return tuple(
        layer.layer.name
        for layer in quantized.layers
        if isinstance(layer, QuantizedLayer) and layer.quantize_config.kernel is not None
    )


def kernel_layer(node: Node, producers: dict[int, Node]) -> str | None:
    """The layer with a kernel whose operation ends with `node`; None if there is none."""
    while isinstance(node.layer, QuantizedLayer):
        inner = node.layer.layer
        if spec_of(inner).kernel is not None:
            return inner.name
        if not is_norm(inner) and type(inner) not in (layers.ReLU, layers.Activation):
            return None
        node = producers[node.inputs[0].id]
        if isinstance(node.layer, QuantizedLayer) and node.layer.quantize_config.output is not None:
            return None
    return None
