"""Feature extraction: the outputs of named layers of a network, by one forward pass."""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.graph.keras_graph import calls, is_functional, output_structure

# TF-MOT renames the layers that it wraps.
_PREFIXES = ("", "quant_", "prune_low_magnitude_")
_CHOOSE = (
    "Pass keras.Model(model.inputs, model.outputs[index]) of the one to keep: its layers are the same, so "
    "that they are trained in place."
)


def feature_extractor(model: keras.Model, layers: Iterable[str], role: str) -> Callable:
    """Returns a network that computes a dictionary of the outputs of `layers` by one forward pass of `model`.

    'logits' stands for logits of two or more classes: a softmax or a sigmoid at the end is left out, and one
    channel becomes two.

    Args:
        model: A functional network, wrapped by TF-MOT or not. It may contain other functional networks.
        layers: Names of layers. 'logits' is the network's output, whatever its layer is called. The layer
            'inner' of a nested network 'outer' is 'outer/inner', or 'inner' where that name is unique.
            'stride16', where no layer has this name, is the last layer of that stride, a power of two, before
            the network goes on to a coarser one. In a network without this stride, it is the last layer of
            the next finer one.
        role: 'teacher' or 'student', for messages.

    Raises:
        ValueError: for a layer that does not exist, that is ambiguous among nested networks, or that runs
            several times in a pass. The message lists the choices. For logits of a network with several
            outputs.
    """
    paths = {layer: () if layer == LOGITS else _path(model, layer, role) for layer in layers}
    if any(len(path) > 1 for path in paths.values()):
        network = _NestedFeatures(model, paths)
    else:
        network = keras.Model(model.inputs, {layer: _tensor(model, path) for layer, path in paths.items()})
    if LOGITS not in paths:
        return network
    models.check_one_output(model, role.capitalize(), _CHOOSE)
    head = models.head_of(model)
    models.check_head(model, head)
    if head == "logits" and model.outputs[0].shape[-1] != 1:
        return network
    return _WithLogits(network, head)


def shared_feature(student: keras.Model, layers: Iterable[str]) -> str:
    """Returns the last layer on which the logits and all of `layers` depend; 'logits' if that is the output.

    Raises:
        ValueError: for a layer that does not exist, or if they have nothing in common but the images.
    """
    nodes = list(calls(student))
    positions = {id(node): position for position, node in enumerate(nodes)}
    ancestors: list[set[int]] = []
    for position, node in enumerate(nodes):
        ancestors.append(
            {position}.union(*(ancestors[positions[id(parent)]] for parent in node.parent_nodes))
        )
    producers = {tensor: position for position, node in enumerate(nodes) for tensor in node.flat_output_ids}
    output = producers[str(id(student.outputs[0]))]
    common = set(ancestors[output])
    for layer in {*layers} - {LOGITS}:
        path = _path(student, layer, "student")
        position = positions[id(_runs(student, path[0])[0])]
        # The layers of a nested network depend on that network's inputs.
        common &= ancestors[position] - ({position} if len(path) > 1 else set())
    names = [node.layer.name for node in nodes]
    candidates = [
        position
        for position in common
        if not nodes[position].is_input
        and names.count(names[position]) == 1
        and len(nodes[position].flat_output_ids) == 1
    ]
    if not candidates:
        raise ValueError(
            f"Student {student.name!r} has no layer that its logits and the layers {sorted(layers)} all "
            f"depend on, so terms on them cannot be balanced. Distil other layers, or give the terms weights."
        )
    return LOGITS if max(candidates) == output else names[max(candidates)]


def _path(model, name, role) -> tuple[str, ...]:
    """Returns the path to the layer `name`: the nested networks from outside in, and the layer last."""
    choices = list(_paths(model))
    named = [path for path in choices if path in _spellings(name.split("/"))]
    # A layer of the network itself comes first, even if it has a slash in its name.
    named = [path for path in choices if len(path) == 1 and path in _spellings([name])] or named
    named = named or [path for path in choices if path[-1:] in _spellings([name])]
    if len(named) == 1:
        _check_runs_once(model, named[0], name)
        return named[0]
    if named:
        raise ValueError(
            f"Layer {name!r} of {role} {model.name!r} is ambiguous. Expected one of "
            f"{['/'.join(path) for path in named]}. Set it in `terms=loss@teacher_layer:student_layer`."
        )
    stride = re.fullmatch(r"stride(\d+)", name)
    if stride and int(stride[1]).bit_count() == 1 and (last := _last_of_stride(model, int(stride[1]))):
        return _path(model, last, role)
    known = list(dict.fromkeys([*models.feature_layers(model), LOGITS]))
    close = difflib.get_close_matches(name, ["/".join(path) for path in choices], n=3)
    raise ValueError(
        f"Layer {name!r} not found in {role} {model.name!r}. Expected one of {known}, or "
        f"the name of any other layer{f' such as {close}' if close else ''}. Set it in "
        f"`terms=loss@teacher_layer:student_layer`."
    )


def _last_of_stride(model, stride: int) -> str | None:
    """Returns the layer that stands for a stride that no layer is named after; None if there is none.

    The encoder's layer, which leads to a coarser stride, comes before the decoder's of the same stride.
    """
    images, named = model.input_shape[1:3], {layer.name for layer in model.layers}
    while None not in images and stride > 1:
        if f"stride{stride}" in named:
            return f"stride{stride}"
        coarser, finer = [], []
        for node in calls(model):
            own = _stride(node.outputs, images)
            if not node.is_input and own not in (stride, None):
                sources = [
                    parent.layer.name
                    for parent in node.parent_nodes
                    if _stride(parent.outputs, images) == stride
                ]
                (coarser if own > stride else finer).extend(sources)
        if coarser or finer:
            return coarser[-1] if coarser else finer[0]
        stride //= 2
    return None


def _stride(outputs, images) -> int | None:
    """Returns the power of two nearest to a feature map's stride; None for what has no stride.

    Nearest, because images are padded where their size cannot be halved so often.
    """
    shapes = [tensor.shape for tensor in tf.nest.flatten(outputs)]
    if len(shapes) != 1 or shapes[0].rank != 4 or None in shapes[0][1:3] or shapes[0][1:3] == (1, 1):
        return None
    return 2 ** round(math.log2(math.prod(images) / math.prod(shapes[0][1:3])) / 2)


def _paths(model) -> Iterator[tuple[str, ...]]:
    for layer in model.layers:
        yield (layer.name,)
        if is_functional(layer):
            yield from ((layer.name, *inner) for inner in _paths(layer))


def _spellings(names) -> list[tuple[str, ...]]:
    return [(*names[:-1], prefix + names[-1]) for prefix in _PREFIXES]


def _check_runs_once(model, path, layer):
    for name in path:
        count = len(_runs(model, name))
        if count != 1:
            raise ValueError(
                f"Layer {layer!r}: {name!r} of {model.name!r} runs {count} times in a pass. Expected a "
                f"layer that runs once. Choose a layer before or after it."
            )
        model = model.get_layer(name)


def _runs(model, name):
    return [node for node in calls(model) if node.layer.name == name]


def _tensor(model, path):
    # Not the layer's own `output`: it may also run in another network.
    return _runs(model, path[0])[0].outputs if path else model.outputs[0]


class _WithLogits(keras.layers.Layer):
    """A feature extractor whose network ends in probabilities or one channel: it computes logits from them.

    Args:
        network: Computes a dictionary of features, 'logits' among them.
        head: See `models.head_of`.
    """

    def __init__(self, network, head):
        super().__init__(name=f"{network.name}_logits", autocast=False)
        self.network = network
        self.head = head

    @property
    def output_shape(self) -> dict[str, tuple]:
        shapes = dict(self.network.output_shape)
        *positions, channels = shapes[LOGITS]
        return shapes | {LOGITS: (*positions, max(channels, 2))}

    def call(self, inputs, training=None):
        outputs = dict(self.network(inputs, training=training))
        return outputs | {LOGITS: models.as_logits(outputs[LOGITS], self.head)}


class _NestedFeatures(keras.layers.Layer):
    """A feature extractor that reaches the layers of nested networks.

    A Keras model between two tensors cannot reach into a nested network. This layer makes the calls of the
    graph in Keras' order, and does the same inside each nested network that contains a wanted layer.

    Args:
        model: A functional network.
        paths: The path to each layer; () is the network's output, all of its outputs for the name ''.
    """

    def __init__(self, model, paths):
        super().__init__(name=f"{model.name}_features", autocast=False)
        self.model = model
        self.paths = paths
        self.inner = {
            name: _NestedFeatures(
                model.get_layer(name),
                {"": ()} | {layer: path[1:] for layer, path in paths.items() if path[:1] == (name,) != path},
            )
            for name in {path[0] for path in paths.values() if len(path) > 1}
        }

    @property
    def output_shape(self) -> dict[str, tuple]:
        images = tf.TensorSpec((1, *self.model.input_shape[1:]), tf.float32)
        outputs = tf.function(self).get_concrete_function(images).structured_outputs
        return {layer: (None, *tensor.shape[1:]) for layer, tensor in outputs.items()}

    def call(self, inputs, training=None):
        # Keras passes `training` on to the layers, unless the network was called with its own.
        values = {
            str(id(reference)): tf.cast(image, reference.dtype)
            for reference, image in zip(self.model.inputs, tf.nest.flatten(inputs), strict=True)
        }
        features = {}
        for node in calls(self.model):
            name, ids = node.layer.name, node.flat_input_ids
            if node.is_input:
                outputs = values[node.flat_output_ids[0]]
            else:
                # Each use of a tensor takes one from its list.
                args, kwargs = node.map_arguments({key: [values[key]] * ids.count(key) for key in ids})
                outputs = self.inner.get(name, node.layer)(*args, **kwargs)
            if name in self.inner:
                features.update(outputs)
                outputs = features.pop("")
            values.update(zip(node.flat_output_ids, tf.nest.flatten(outputs), strict=True))
            features.update({layer: outputs for layer, path in self.paths.items() if path == (name,)})
        outputs = [values[str(id(tensor))] for tensor in self.model.outputs]
        all_outputs = tf.nest.pack_sequence_as(output_structure(self.model), outputs)
        return features | {
            layer: outputs[0] if layer else all_outputs for layer, path in self.paths.items() if not path
        }
