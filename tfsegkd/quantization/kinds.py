"""The short way to tell int8 of a layer of your own; `tfsegkd.graph.register` tells everybody."""

from tfsegkd import graph
from tfsegkd.graph import LayerSpec, Scale

Kind = Scale


def register(kind: Scale, *types: type) -> None:
    """Registers layers by what they do with a scale, so that networks which have them can be quantized.

    `tfsegkd.graph.register` takes a whole `LayerSpec`, which pruning, costs and adoption ask as well.

    Args:
        kind: A `Kind`, or a function that tells it from a layer.
        types: Layer classes, whose `call` must be a single operation that TFLite has in int8.

    Raises:
        ValueError: for a type that is registered already, or that does something else.
    """
    for one in types:
        graph.register(one, LayerSpec(scale=kind))
