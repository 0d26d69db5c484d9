"""Reading features out of a network while it runs once."""

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


def feature_extractor(model: keras.Model, taps: Iterable[str], role: str) -> Callable:
    """`model` with its taps: one forward pass gives a dictionary of what each tap computes.

    The tap 'logits' is logits of two or more classes: a softmax or a sigmoid at the end is left out, and one
    channel becomes two.

    Args:
        model: A functional network, wrapped by TF-MOT or not; it may hold other functional networks.
        taps: Names of layers. 'logits' is the network's output whatever its layer is called; 'outer/inner',
            or 'inner' alone where no other layer has that name, is the layer 'inner' of the network that is
            the layer 'outer' of this one, and so on inwards. 'stride16', where no layer is called so, is the
            layer with which the network leaves that stride, a power of two, for a coarser one if there is; in
            a network without it, that of the next finer stride.
        role: 'teacher' or 'student', for messages.

    Raises:
        ValueError: for a a layer that is not there, that several networks within have, or that runs several times
            a pass; the message lists the choices. For logits of a network with several outputs.
    """
    paths = {tap: () if tap == LOGITS else _path(model, tap, role) for tap in taps}
    if any(len(path) > 1 for path in paths.values()):
        network = _Opened(model, paths)
    else:
        network = keras.Model(model.inputs, {tap: _tensor(model, path) for tap, path in paths.items()})
    if LOGITS not in paths:
        return network
    models.check_one_output(model, role.capitalize(), _CHOOSE)
    head = models.head_of(model)
    models.check_head(model, head)
    if head == "logits" and model.outputs[0].shape[-1] != 1:
        return network
    return _EndingInLogits(network, head)


def shared_feature(student: keras.Model, taps: Iterable[str]) -> str:
    """The name of the last layer that the logits and all of `taps` depend on; 'logits' for the last of all.

    Raises:
        ValueError: for a a layer that is not there, or if nothing but the images is common to all.
    """
    nodes = list(calls(student))
    places = {id(node): place for place, node in enumerate(nodes)}
    before: list[set[int]] = []
    for place, node in enumerate(nodes):
        before.append({place}.union(*(before[places[id(parent)]] for parent in node.parent_nodes)))
    made = {made: place for place, node in enumerate(nodes) for made in node.flat_output_ids}
    end = made[str(id(student.outputs[0]))]
    common = set(before[end])
    for tap in {*taps} - {LOGITS}:
        path = _path(student, tap, "student")
        place = places[id(_runs(student, path[0])[0])]
        # What is inside a network depends on what that network is given.
        common &= before[place] - ({place} if len(path) > 1 else set())
    names = [node.layer.name for node in nodes]
    fit = [
        place
        for place in common
        if not nodes[place].is_input
        and names.count(names[place]) == 1
        and len(nodes[place].flat_output_ids) == 1
    ]
    if not fit:
        raise ValueError(
            f"Student {student.name!r} has no layer that its logits and the layers {sorted(taps)} all depend "
            f"on, so terms at them cannot be balanced. Distil other layers, or give the terms weights."
        )
    return LOGITS if max(fit) == end else names[max(fit)]


def _path(model, tap, role) -> tuple[str, ...]:
    """The layers that lead to `tap`: the networks within each other, and the layer itself last."""
    choices = list(_paths(model))
    named = [path for path in choices if path in _spellings(tap.split("/"))]
    # A layer of the network itself goes first, also one with a slash in its name.
    named = [path for path in choices if len(path) == 1 and path in _spellings([tap])] or named
    named = named or [path for path in choices if path[-1:] in _spellings([tap])]
    if len(named) == 1:
        _check_runs_once(model, named[0], tap)
        return named[0]
    if named:
        raise ValueError(
            f"Layer {tap!r} of {role} {model.name!r} is ambiguous. Expected one of "
            f"{['/'.join(path) for path in named]}. Set it in `terms=loss@teacher_layer:student_layer`."
        )
    stride = re.fullmatch(r"stride(\d+)", tap)
    if stride and int(stride[1]).bit_count() == 1 and (end := _end_of_stride(model, int(stride[1]))):
        return _path(model, end, role)
    known = list(dict.fromkeys([*models.feature_layers(model), LOGITS]))
    close = difflib.get_close_matches(tap, ["/".join(path) for path in choices], n=3)
    raise ValueError(
        f"Layer {tap!r} not found in {role} {model.name!r}. Expected one of {known}, or "
        f"the name of any other layer{f' such as {close}' if close else ''}. Set it in "
        f"`terms=loss@teacher_layer:student_layer`."
    )


def _end_of_stride(model, stride: int) -> str | None:
    """The layer that stands for a stride that no layer is named after; None if there is none.

    What leads to a coarser stride goes first, because decoders pass the same strides on their way back.
    """
    images, named = model.input_shape[1:3], {layer.name for layer in model.layers}
    while None not in images and stride > 1:
        if f"stride{stride}" in named:
            return f"stride{stride}"
        coarser, finer = [], []
        for node in calls(model):
            made = _stride(node.outputs, images)
            if not node.is_input and made not in (stride, None):
                ends = [
                    parent.layer.name
                    for parent in node.parent_nodes
                    if _stride(parent.outputs, images) == stride
                ]
                (coarser if made > stride else finer).extend(ends)
        if coarser or finer:
            return coarser[-1] if coarser else finer[0]
        stride //= 2
    return None


def _stride(outputs, images) -> int | None:
    """The power of two that a feature map's stride is nearest to; None for what is no map, or one position.

    Nearest, because frames are padded where a network cannot halve them so often.
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


def _check_runs_once(model, path, tap):
    for name in path:
        count = len(_runs(model, name))
        if count != 1:
            raise ValueError(
                f"Layer {tap!r}: layer {name!r} of {model.name!r} runs {count} times a pass. Expected a layer "
                f"that runs once. Choose a layer before or after it."
            )
        model = model.get_layer(name)


def _runs(model, name):
    return [node for node in calls(model) if node.layer.name == name]


def _tensor(model, path):
    # Not the layer's own `output`: it may also run in another network.
    return _runs(model, path[0])[0].outputs if path else model.outputs[0]


class _EndingInLogits(keras.layers.Layer):
    """A network with taps whose output is no logits of two or more classes yet.

    Args:
        network: It gives a dictionary of taps, 'logits' among them.
        head: As of `models.head_of`.
    """

    def __init__(self, network, head):
        super().__init__(name=f"{network.name}_logits", autocast=False)
        self.network = network
        self.head = head

    @property
    def output_shape(self) -> dict[str, tuple]:
        shapes = dict(self.network.output_shape)
        *place, channels = shapes[LOGITS]
        return shapes | {LOGITS: (*place, max(channels, 2))}

    def call(self, inputs, training=None):
        shown = dict(self.network(inputs, training=training))
        return shown | {LOGITS: models.as_logits(shown[LOGITS], self.head)}


class _Opened(keras.layers.Layer):
    """A network whose inner networks show their taps too.

    Keras' own way to read a feature, a model between two tensors, ends at the border of an inner network.
    This one makes the calls in Keras' order, and opens the networks that hold a tap.

    Args:
        model: A functional network.
        paths: For each tap the names that lead to it; () is what the network gives out, whole for the tap ''.
    """

    def __init__(self, model, paths):
        super().__init__(name=f"{model.name}_taps", autocast=False)
        self.model = model
        self.paths = paths
        self.inner = {
            name: _Opened(
                model.get_layer(name),
                {"": ()} | {tap: path[1:] for tap, path in paths.items() if path[:1] == (name,) != path},
            )
            for name in {path[0] for path in paths.values() if len(path) > 1}
        }

    @property
    def output_shape(self) -> dict[str, tuple]:
        images = tf.TensorSpec((1, *self.model.input_shape[1:]), tf.float32)
        made = tf.function(self).get_concrete_function(images).structured_outputs
        return {tap: (None, *tensor.shape[1:]) for tap, tensor in made.items()}

    def call(self, inputs, training=None):
        # Keras hands `training` on to the layers, unless the network was called with one of its own.
        values = {
            str(id(reference)): tf.cast(given, reference.dtype)
            for reference, given in zip(self.model.inputs, tf.nest.flatten(inputs), strict=True)
        }
        shown = {}
        for node in calls(self.model):
            name, ids = node.layer.name, node.flat_input_ids
            if node.is_input:
                outputs = values[node.flat_output_ids[0]]
            else:
                # Every use of a tensor takes one from its list.
                args, kwargs = node.map_arguments({key: [values[key]] * ids.count(key) for key in ids})
                outputs = self.inner.get(name, node.layer)(*args, **kwargs)
            if name in self.inner:
                shown.update(outputs)
                outputs = shown.pop("")
            values.update(zip(node.flat_output_ids, tf.nest.flatten(outputs), strict=True))
            shown.update({tap: outputs for tap, path in self.paths.items() if path == (name,)})
        made = [values[str(id(tensor))] for tensor in self.model.outputs]
        whole = tf.nest.pack_sequence_as(output_structure(self.model), made)
        return shown | {tap: made[0] if tap else whole for tap, path in self.paths.items() if not path}
