"""Networks by name."""

import os
import re

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.graph import Graph, read, rebuild
from tfsegkd.models.files import load
from tfsegkd.models.registry import models, published_feature_layers
from tfsegkd.models.sizes import sizes_that_fit
from tfsegkd.models.torch_weights import load_torch_weights
from tfsegkd.spec import Spec


def names() -> list[str]:
    """The names of the registered networks.

    Returns:
        The names, sorted.

    Example:
        "unet" in models.names()  # True
    """
    return models.names()


def describe() -> dict[str, str]:
    """A one-sentence description of each network.

    Returns:
        A sentence by name.

    Example:
        for name, sentence in models.describe().items():
            print(f"{name}: {sentence}")
    """
    return models.describe()


def build(
    spec: str | Spec,
    num_classes: int,
    input_shape: tuple[int, int, int],
    weights: str | os.PathLike | None = None,
) -> keras.Model:
    """Builds a network from its spec, such as `'unet(width=8)'`.

    Every network takes raw RGB pixels 0…255 as float32, normalises inside, and gives logits at the input's
    size.

    Args:
        spec: A name that `names` lists, with options of its builder.
        num_classes: The number of predicted classes.
        input_shape: (H, W, 3) in pixels. Any size works: networks pad inside and crop their logits.
        weights: A file to fill the network from: a `.pth` of PyTorch (see `load_torch_weights`), or the same
            network, at any size, as Keras saved it. None keeps those of the spec.

    Returns:
        A functional network: float32 pixels 0…255 in, logits (N, H, W, num_classes) out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for an unknown name or argument, a shape that is not (H, W, 3), a network too large
            for the memory, or weights of another network.

    Example:
        model = models.build("unet(width=2)", num_classes=11, input_shape=(32, 32, 3))
        model.output_shape  # (None, 32, 32, 11)
    """
    checks.in_range(num_classes, 2, 65535, what="num_classes")
    if len(input_shape) != 3 or input_shape[2] != 3 or min(input_shape) < 1:
        raise ValueError(f"input_shape must be (height, width, 3). Received: {input_shape}.")
    try:
        model = models.build(spec, num_classes=num_classes, input_shape=tuple(input_shape))
    except tf.errors.ResourceExhaustedError as error:
        shape = re.search(r"shape\s*(\[[\d,]+\])", error.message)
        raise ValueError(
            f"The network {(spec if isinstance(spec, str) else spec.name)!r} does not fit into memory"
            f"{f': it has a weight of shape {shape[1]}' if shape else ''}. Expected fewer channels."
        ) from None
    if weights is not None:
        _fill(model, os.fspath(weights))
    return model


def _fill(model: keras.Model, path: str) -> None:
    if path.endswith((".pth", ".pt")):
        load_torch_weights(model, path)
        return
    saved = load(path)
    ours, theirs = ({weight.name: tuple(weight.shape) for weight in one.weights} for one in (model, saved))
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differing:
        raise ValueError(
            f"The weights in {path!r} are those of another network than {model.name!r}. Expected the same "
            f"layers with the same channels. Received others for: {', '.join(differing)}. Build it with the "
            f"spec and the classes that it was trained with."
        )
    values = {weight.name: value for weight, value in zip(saved.weights, saved.get_weights(), strict=True)}
    model.set_weights([values[weight.name] for weight in model.weights])


def initialize_from(model: keras.Model, path: str | os.PathLike) -> list[str]:
    """Initializes layers of `model` from layers of the same names and shapes of a saved network.

    For example for a decoder that is added to a trained encoder, or for other
    classes. `build(weights=)` is for the same network.

    Args:
        model: The network to fill, in place.
        path: A network saved by Keras.

    Returns:
        The layers that keep their initial weights, because the saved network has none for them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if most of the saved weights match no layer.

    Example:
        models.unet(num_classes=5, input_shape=(32, 32, 3), width=2).save("five_classes.keras")
        eleven = models.unet(num_classes=11, input_shape=(32, 32, 3), width=2)
        models.initialize_from(eleven, "five_classes.keras")  # the layer of the classes keeps its own weights
    """
    saved = load(path)
    theirs = {layer.name: layer for layer in saved.layers}
    fresh, taken = [], 0
    for layer in model.layers:
        if not layer.weights:
            continue
        partner = theirs.get(layer.name)
        if partner and [w.shape for w in partner.weights] == [w.shape for w in layer.weights]:
            layer.set_weights(partner.get_weights())
            taken += layer.count_params()
        else:
            fresh.append(layer.name)
    if 2 * taken < saved.count_params():
        raise ValueError(
            f"{model.name!r} cannot begin from {os.fspath(path)!r}: only {taken} of its "
            f"{saved.count_params()} weights belong to a layer that has the same name and the same shapes in "
            f"both. Expected a part of this network, or the same for other classes, of the same width. First "
            f"of its layers: {list(theirs)[:8]}."
        )
    return fresh


def feature_layers(model: keras.Model) -> list[str]:
    """The layers of `model` recommended for distillation, in the order in which they run.

    Args:
        model: A network made by `build`, or adopted.

    Returns:
        Names of layers that terms can compare.

    Example:
        models.feature_layers(models.unet(num_classes=2, input_shape=(32, 32, 3), width=2))
        # ['stage1', 'stage2', 'stage3', 'stage4', 'context', 'decoder', 'logits']
    """
    known = {layer for feature_layers in published_feature_layers().values() for layer in feature_layers}
    return [layer.name for layer in model.layers if layer.name in known]


def at_size(model: keras.Model, shape: tuple[int, int]) -> keras.Model:
    """Rebuilds `model` with the same weights for another input size.

    For example to train on crops and run on full images. The result is a copy: training it does not change
    `model`. Fixed sizes of resizing layers change in proportion. A float network may be quantized afterwards,
    and a quantized one may be rebuilt.

    Args:
        model: A network built for one size.
        shape: (height, width) of the new input, in pixels.

    Returns:
        The network at the new size; `model` itself if it has that size.

    Raises:
        ValueError: if a layer of the network is tied to the old size, or the new one does not divide as its
            layers need, with the nearest sizes that do.

    Example:
        larger = models.at_size(student, (64, 96))
        larger.output_shape  # (None, 64, 96, 11)
    """
    if tuple(model.input_shape[1:3]) == tuple(shape):
        return model
    graph, old = read(model), model.input_shape[1:3]

    def resize(size):
        return rebuild(graph, _scaled(graph, old, size))

    try:
        resized = resize(shape)
        if isinstance(model.output_shape, tuple) and len(model.output_shape) == 4:
            expected = _proportional(model.output_shape[1:3], old, shape)
            if None not in expected and resized.output_shape[1:3] != expected:
                raise ValueError(f"its output is {resized.output_shape[1:3]} and not {expected}")
    except ValueError as error:
        raise ValueError(
            f"Model {model.name!r} cannot take images of {tuple(shape)}: "
            f"{checks.quoted(error)}. Expected layers that go with the size. "
            f"{sizes_that_fit(resize, shape)} Or rebuild the float network, tfsegkd.models.adopt(model)[0], "
            f"before it is quantized."
        ) from None
    return resized


def _scaled(graph: Graph, old, new) -> dict[str, dict]:
    """Changes to the layers' configurations: fixed sizes in proportion to the new input."""
    images = tf.nest.flatten(graph.inputs)[0]
    changes = {graph.producers[images.id].name: {"batch_input_shape": (None, *new, images.shape[-1])}}
    for node in graph.nodes if None not in old else ():
        layer = node.layer
        if isinstance(layer, keras.layers.Resizing):
            size = layer.height, layer.width
            height, width = _proportional(size, old, new)
            if None in (height, width):
                raise ValueError(f"layer {node.name!r} resizes to {size}, of which it would need a fraction")
            changes[node.name] = {"height": height, "width": width}
        elif isinstance(layer, keras.layers.UpSampling2D) and node.inputs[0].shape[1:3] == (1, 1):
            # Pooled over the whole image.
            changes[node.name] = {"size": _proportional(layer.size, old, new)}
    return changes


def _proportional(size, old, new):
    """A size of a network for `old` images in one for `new` images; None where it is not a whole number."""
    pairs = zip(size, old, new, strict=True)
    return tuple(
        None if None in (one, before) or one * after % before else one * after // before
        for one, before, after in pairs
    )
