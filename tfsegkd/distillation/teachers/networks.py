"""Teachers that are networks of tf_keras or Keras 3."""

import contextlib
import difflib
import json
import threading

import numpy as np
import tensorflow as tf

from tfsegkd import _keras, checks, models
from tfsegkd._keras import keras
from tfsegkd.distillation.features import feature_extractor
from tfsegkd.distillation.teachers.base import Teacher, checked_logits, digest, fixed, resized, scaled_size
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.graph import check_images

# These vary with Keras, process or training, but not with what the network computes.
_NOT_COMPUTED = frozenset(
    ("name", "trainable", "shared_object_id", "build_config", "compile_config", "keras_version", "backend")
)


class KerasTeacher(Teacher):
    """A functional tf_keras network; it takes images of its own input size.

    Args:
        model: The network.
        output: The name of the output that is the logits; not needed if there is only one.

    Raises:
        ValueError: for several outputs of which none is chosen, or inputs that are not RGB.

    Example:
        distillation.KerasTeacher(teacher)
    """

    def __init__(self, model: keras.Model, output: str | None = None):
        index = _chosen(model, output)
        if index is not None:
            model = keras.Model(model.inputs, model.outputs[index], name=model.name)
        self.model = model
        self.name = model.name
        self.size = fixed(model.input_shape[1:3])

    def feature_extractor(self, names):
        network = feature_extractor(self.model, names, "teacher")

        def run(images):
            outputs = dict(network(images, training=False))
            if LOGITS in outputs:
                outputs[LOGITS] = checked_logits(outputs[LOGITS], images, self.name)
            return outputs

        return run

    def fingerprint(self):
        return model_fingerprint(self.model)

    def scaled(self, scale):
        if self.size is None:
            return self
        return KerasTeacher(models.at_size(self.model, scaled_size(self.size, scale)))


class Keras3Teacher(Teacher):
    """A Keras 3 network, functional or not. A layer of a nested model is called 'outer/inner'.

    Images are resized to the network's input size, if it is fixed.

    Args:
        model: The network, on Keras 3's TensorFlow backend.
        output: The name of the output that is the logits; not needed if there is only one.

    Raises:
        ValueError: if Keras 3 runs on another backend; for several outputs of which none is chosen, or inputs
            that are not RGB.
    """

    def __init__(self, model, output: str | None = None):
        backend = _keras.keras3.backend.backend()
        if backend != "tensorflow":
            raise ValueError(
                f"A Keras 3 teacher must run on TensorFlow, as the student does. Received: backend "
                f"{backend!r}. Set KERAS_BACKEND=tensorflow."
            )
        self.model = model
        self.name = model.name
        # A subclassed model has no inputs.
        inputs = getattr(model, "inputs", None) or []
        self._output, self._head = None, models.heads.UNKNOWN
        if inputs:
            self._output = _chosen(model, output)
            self._head = models.head_of(model, self._output or 0)
        self.input_size = fixed(inputs[0].shape[1:3]) if inputs else None
        self._dtype = inputs[0].dtype if inputs else "float32"
        self._layers = dict(_named_layers(model))
        self._lock = threading.Lock()

    def feature_extractor(self, names):
        names = list(names)
        layers = {name: self._layer(name) for name in names if name != LOGITS}

        def run(images):
            outputs = {}
            resized_images = tf.cast(resized(images, self.input_size), self._dtype)
            with self._lock, _recording(layers, outputs):
                logits = self.model(resized_images, training=False)
            if LOGITS in names:
                outputs[LOGITS] = checked_logits(self._select(logits), images, self.name, self._head)
            missing = [name for name in names if name not in outputs]
            if missing:
                raise ValueError(
                    f"Layers {missing} of teacher {self.name!r} do not run. Choose other layers."
                )
            return outputs

        return run

    def _select(self, outputs):
        outputs = tf.nest.flatten(outputs)
        if self._output is None and len(outputs) > 1:  # of a subclass, whose outputs have no names
            raise ValueError(
                f"Teacher {self.name!r} must have one output, the logits. Received: {len(outputs)} outputs. "
                f"Pass a function that returns one of them."
            )
        return outputs[self._output or 0]

    def _layer(self, name):
        if name not in self._layers:
            # Users mostly write the last part of a path.
            paths = {path.split("/")[-1]: path for path in self._layers}
            close = difflib.get_close_matches(name.split("/")[-1], paths, n=3) or list(paths)[-3:]
            close = [paths[last] for last in close]
            raise ValueError(
                f"Layer {name!r} not found in teacher {self.name!r}. Expected 'logits' or the name of a "
                f"layer, such as {close}. Set it in `terms=loss@teacher_layer:student_layer`."
            )
        return self._layers[name]

    def fingerprint(self):
        return model_fingerprint(self.model)


def _chosen(model, output: str | None) -> int | None:
    """Returns the index of the chosen output; None if there is only one."""
    check_images(model, "A teacher", fixed=False)
    if output is None:
        models.check_one_output(model, "Teacher", "Choose one with load_teacher(model, output='…').")
        return None
    names = models.output_names(model)
    return names.index(checks.one_of(output, names, f"The output of teacher {model.name!r}"))


def model_fingerprint(model) -> str:
    """Returns a hash of a Keras network: its layers, their connections and its weights."""
    order = {}
    for path, layer in _named_layers(model):
        order.setdefault(layer.name, f"layer {len(order)} {path.count('/')}")
    layers = json.dumps(_anonymous(json.loads(model.to_json()), order), sort_keys=True)
    weights = []
    for weight in map(np.asarray, model.get_weights()):
        weights += [f"{weight.dtype} {weight.shape}", weight.tobytes()]
    return digest(layers, *weights)


def _anonymous(config, order: dict[str, str]):
    """Returns a config without names, since automatic names contain counters."""
    if isinstance(config, dict):
        return {key: _anonymous(value, order) for key, value in config.items() if key not in _NOT_COMPUTED}
    if isinstance(config, list):
        return [_anonymous(value, order) for value in config]
    return order.get(config, config) if isinstance(config, str) else config


def _named_layers(model, prefix=""):
    for layer in model.layers:
        yield prefix + layer.name, layer
        if hasattr(layer, "layers"):
            yield from _named_layers(layer, f"{prefix}{layer.name}/")


@contextlib.contextmanager
def _recording(layers, outputs):
    """Records in `outputs` what `layers` compute in this context.

    A second functional model could not reach layers of nested models, and would add nodes to the graph.
    """

    def recorder(name, call):
        def note(*args, **kwargs):
            outputs[name] = call(*args, **kwargs)
            return outputs[name]

        return note

    listened = []
    try:
        for name, layer in layers.items():
            layer.call = recorder(name, layer.call)
            listened.append(layer)
        yield
    finally:
        for layer in listened:
            del layer.call
