"""Mixed-precision networks as networks that compute in float32."""

from tfsegkd._keras import keras
from tfsegkd.graph.nodes import Graph, read
from tfsegkd.graph.rebuild import rebuild

HALF = ("float16", "bfloat16")


def in_float32(model: keras.Model) -> keras.Model:
    """Copies a network that computes in half precision into one of float32; any other is returned as it is.

    Mixed precision is for training on a GPU. The weights are float32 already, and int8 knows nothing
    between.

    Args:
        model: A functional network.
    """
    if not any(layer.compute_dtype in HALF for layer in model._flatten_layers()):
        return model
    graph = read(model)
    return rebuild(graph, float32_changes(graph))


def float32_changes(graph: Graph) -> dict[str, dict[str, str]]:
    """What changes in the configurations of the layers that compute in half precision, for `rebuild`."""
    return {
        name: {"dtype": "float32"} for name, layer in graph.layers().items() if layer.compute_dtype in HALF
    }
