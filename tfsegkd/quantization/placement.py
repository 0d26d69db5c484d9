"""Where a network is rounded: after which of its layers an int8 tensor stands.

The int8 file has one operation for a convolution with its BatchNorm and ReLU, so only the end of such a chain
is rounded. Pooling, padding, resizing and the like hand on the scale of what they get. A Concatenate needs
one scale for all it joins: what it alone consumes is not rounded on its own but with the joined tensor.
"""

from dataclasses import dataclass

from tfsegkd._keras import keras
from tfsegkd.layers import CropLike, PadToStride, ResizeLike
from tfsegkd.quantization.configs import KERNELS, LayerConfig

layers = keras.layers

# Operations of TFLite whose output must have the scale of their input.
CARRIERS = (
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.Reshape,
    layers.Flatten,
    layers.Permute,
    layers.Dropout,
    layers.SpatialDropout2D,
    PadToStride,
    CropLike,
    ResizeLike,
)
# Layers whose further inputs are looked at for their size only.
_SIZED_BY_SECOND = (CropLike, ResizeLike)
_NORMS = (layers.BatchNormalization,)
# BatchNorm becomes part of these. A transposed convolution takes it into its kernel before.
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
_OTHERS = (layers.Add, layers.Concatenate, layers.GlobalAveragePooling2D, layers.LeakyReLU)
# TFLite prescribes these output ranges.
_PRESCRIBED = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


@dataclass(frozen=True)
class Edges:
    """Which layer feeds which in a flat functional model.

    Attributes:
        inputs: Layer name → names of the layers whose values it reads, in order.
        consumers: Layer name → names of the layers that read its values.
        outputs: Names of the layers that give the model's outputs.
    """

    inputs: dict[str, list[str]]
    consumers: dict[str, list[str]]
    outputs: frozenset[str]


def edges(model: keras.Model) -> Edges:
    """Reads the edges of `model`, whose layers are each called once."""
    inputs = {layer.name: [] for layer in model.layers}
    consumers = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for producer in producers(layer)[: 1 if type(layer) in _SIZED_BY_SECOND else None]:
            inputs[layer.name].append(producer.name)
            consumers[producer.name].append(layer.name)
    return Edges(inputs, consumers, frozenset(model.output_names))


def producers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers whose outputs `layer` takes, in order."""
    if isinstance(layer, layers.InputLayer):
        return []
    found = layer.inbound_nodes[0].inbound_layers
    return list(found) if isinstance(found, list | tuple) else [found]


def place(model: keras.Model) -> dict[str, LayerConfig]:
    """Decides for every layer of a float model what of it is rounded.

    Raises:
        ValueError: for a layer that would stay in float; the message names it and the cure.
    """
    check_layers(model)
    graph = edges(model)
    by_name = {layer.name: layer for layer in model.layers}
    configs = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        if is_norm(layer):
            _check_norm(layer, by_name, graph)
        configs[layer.name] = _config(layer, by_name, graph)
    return configs


def _config(layer, by_name, graph):
    if _averages(layer):
        awaited = _continues(_source(layer, by_name, graph), by_name, graph)
        return LayerConfig(output=awaited and not _continues(layer, by_name, graph))
    if type(layer) in CARRIERS or _activation(layer) == "linear":
        return LayerConfig(output=False)
    fixed_range = _fixed_range(layer, by_name, graph)
    if fixed_range:
        return LayerConfig(output=True, fixed_range=fixed_range)
    return LayerConfig(output=not _continues(layer, by_name, graph), limits=limits(layer))


def _continues(layer, by_name, graph):
    """Whether the next layer becomes part of the same int8 operation, or rounds for `layer`."""
    consumer = sole_consumer(layer, by_name, graph)
    if consumer is None:
        return False
    if is_norm(consumer):
        return is_linear(layer) and isinstance(layer, _CONVOLUTIONS)
    if is_relu(consumer):
        return is_linear(layer) and isinstance(layer, (*KERNELS, *_NORMS, layers.Add))
    if isinstance(layer, layers.InputLayer) or _fixed_range(layer, by_name, graph):
        return False
    while type(consumer) in CARRIERS and not _averages(consumer):
        consumer = sole_consumer(consumer, by_name, graph)
    return type(consumer) is layers.Concatenate or (consumer is not None and _averages(consumer))


def _source(layer, by_name, graph):
    """The layer whose values reach `layer` through carriers."""
    layer = by_name[graph.inputs[layer.name][0]]
    while type(layer) in CARRIERS and not _averages(layer):
        layer = by_name[graph.inputs[layer.name][0]]
    return layer


def _averages(layer) -> bool:
    """Whether `layer` keeps the scale of its input and computes new values on it, which are rounded anew."""
    bilinear = type(layer) is layers.UpSampling2D and layer.interpolation == "bilinear"
    return bilinear or type(layer) in (layers.AveragePooling2D, ResizeLike)


def _fixed_range(layer, by_name, graph):
    """The (low, high) of the output of `layer` where it is known beforehand, else None."""
    if is_normalization(layer, by_name, graph):
        return _affine_range(layer)
    return _PRESCRIBED.get(_activation(layer))


def sole_consumer(layer, by_name, graph):
    """The one layer that reads `layer`, or None if there are several or it is an output."""
    names = graph.consumers[layer.name]
    return by_name[names[0]] if len(names) == 1 and layer.name not in graph.outputs else None


def is_norm(layer) -> bool:
    return isinstance(layer, _NORMS)


def is_linear(layer) -> bool:
    """Whether `layer` has no activation of its own."""
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def is_relu(layer) -> bool:
    """Whether `layer` is a ReLU that TFLite merges into the operation before it."""
    if type(layer) is layers.ReLU:
        return not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6.0)
    return _activation(layer) in ("relu", "relu6")


def limits(layer) -> tuple[float | None, float | None]:
    """What the output of `layer` cannot exceed."""
    name = getattr(getattr(layer, "activation", None), "__name__", None)
    if not (is_relu(layer) or name in ("relu", "relu6")):
        return (None, None)
    return (0.0, 6.0 if name == "relu6" or getattr(layer, "max_value", None) else None)


def is_cut_by_range(layer, by_name, graph) -> bool:
    """Whether `layer` is a ReLU after a transposed convolution, where TFLite merges none."""
    if not is_relu(layer):
        return False
    producer = by_name[graph.inputs[layer.name][0]]
    return type(producer) is layers.Conv2DTranspose and sole_consumer(producer, by_name, graph) is layer


def is_normalization(layer, by_name, graph) -> bool:
    """Whether `layer` is the frozen 1×1 depthwise convolution that normalises raw pixels."""
    return (
        type(layer) is layers.DepthwiseConv2D
        and not layer.trainable
        and layer.kernel_size == (1, 1)
        and is_linear(layer)
        and isinstance(by_name[graph.inputs[layer.name][0]], layers.InputLayer)
    )


def _affine_range(normalization):
    """The range of its output for pixels 0…255."""
    kernel = normalization.depthwise_kernel.numpy().ravel().astype(float)
    offset = normalization.bias.numpy().astype(float) if normalization.use_bias else 0.0
    ends = [*(0.0 * kernel + offset), *(255.0 * kernel + offset)]
    return float(min(*ends, 0.0)), float(max(*ends, 0.0))


def _activation(layer):
    """The name of the function of an activation layer, else None."""
    if type(layer) is layers.Softmax:
        return "softmax"
    return layer.activation.__name__ if type(layer) is layers.Activation else None


def check_layers(model: keras.Model) -> None:
    """Raises for the first layer of `model` that cannot be rounded to int8."""
    for layer in model.layers:
        cure = _cure(layer)
        if cure is not None:
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) of model {model.name!r} cannot be quantized "
                f"to int8. {cure}"
            )


def _cure(layer):
    if isinstance(layer, layers.InputLayer):
        return None
    if isinstance(layer, keras.Model):
        return "Nested models are not supported: call its layers in the outer model's graph."
    if len(layer.inbound_nodes) != 1:
        return "It is called more than once: use one layer for each place, with its own name."
    if type(layer) in KERNELS:
        name = getattr(layer.activation, "__name__", type(layer.activation).__name__)
        if name in ("linear", "relu", "relu6"):
            return None
        return f"Move its activation {name!r} into an Activation layer after it."
    if is_norm(layer) or is_relu(layer) or type(layer) in (*CARRIERS, *_OTHERS, layers.Softmax):
        return None
    if type(layer) is layers.ReLU:
        return "Expected a ReLU without slope or threshold and with max_value None or 6."
    if type(layer) is layers.Activation:
        if _activation(layer) in ("linear", *_PRESCRIBED):
            return None
        return f"Replace the activation {_activation(layer)!r} by ReLU, ReLU(6.0), sigmoid or tanh."
    known = (*KERNELS, *_NORMS, layers.ReLU, layers.Activation, layers.Softmax, *_OTHERS, *CARRIERS)
    return f"Replace it by layers out of {sorted(kind.__name__ for kind in known)}."


def _check_norm(layer, by_name, graph):
    producer = by_name[graph.inputs[layer.name][0]]
    alone = sole_consumer(producer, by_name, graph) is layer
    if not (alone and is_linear(producer) and isinstance(producer, _CONVOLUTIONS)):
        raise ValueError(
            f"BatchNormalization {layer.name!r} would stay in float: it follows {producer.name!r} "
            f"({type(producer).__name__}). Expected a convolution without activation that nothing else "
            f"reads. Put the BatchNormalization right after such a convolution."
        )
