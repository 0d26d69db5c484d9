"""The frontend for Keras 3: its layers as layers of tf_keras."""

import inspect
from typing import Any

from tfsegkd import _keras
from tfsegkd._keras import keras
from tfsegkd.graph.frontend import Frontend
from tfsegkd.graph.layer_spec import spec_of, types
from tfsegkd.graph.maps import UnsupportedLayerError
from tfsegkd.graph.precision import HALF

layers = keras.layers

# Says of a layer what does not change what it computes, or is set elsewhere.
_NOT_TAKEN = ("dtype", "name", "trainable", "batch_input_shape", "input_shape")


class Keras3Frontend(Frontend):
    """How to read the layers of Keras 3."""

    package = "keras"

    def __init__(self):
        self.is_half = False  # whether a layer computes in half precision

    def is_leaf(self, layer) -> bool:
        twin = _twin(layer)
        if twin is layers.Activation:
            return self.known(layer.activation) is not None
        # Others are looked into, also those with weights of their own, which become constants.
        return twin is not None

    def can_stay(self, layer) -> bool:
        return False

    def splits(self, layer, activation):
        twin = _twin(layer)
        return twin is not None and spec_of(twin).has_activation and self.decide(activation)

    def convert(self, call, shapes) -> keras.layers.Layer:
        layer, twin = call.layer, _twin(call.layer)
        if getattr(layer, "quantization_mode", None) is not None:
            raise UnsupportedLayerError(
                f"it is quantized to {layer.quantization_mode}; adopt the float network"
            )
        self.is_half |= layer.compute_dtype in HALF
        config = _config(layer, twin)
        if twin is layers.Activation or "activation" in config:
            config["activation"] = "linear" if call.is_linear else self.known(layer.activation) or "linear"
        copy = twin(name=layer.name, trainable=layer.trainable, **config)
        if layer.weights:
            copy.build(shapes)
            _copy(layer, copy)
        return copy


def check_backend() -> None:
    """Raises ValueError if Keras 3 does not run on TensorFlow."""
    backend = _keras.keras3.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"A Keras 3 model can be adopted where Keras 3 runs on TensorFlow. Received: backend "
            f"{backend!r}. Set KERAS_BACKEND=tensorflow."
        )


def _is_of_keras3(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "keras"


def _is_layer(part) -> bool:
    # Keras 3 has operations beside layers.
    return hasattr(part, "weights")


def _twin(layer) -> type | None:
    """The class of tf_keras that does the same as a layer, else None.

    What a user derived from a layer may do something else, unless it was registered.
    """
    kind = type(layer)
    if not _is_layer(layer):
        return None
    for twin in types(lambda spec: spec.keras3):
        theirs = spec_of(twin).keras3
        if kind is theirs or (theirs is True and kind.__name__ == twin.__name__ and _is_of_keras3(kind)):
            return twin
    return None


def _config(layer, twin: type) -> dict[str, Any]:
    renamed = spec_of(twin).keras3_names
    given = {renamed.get(key, key): value for key, value in layer.get_config().items()}
    known = set()
    for base in twin.__mro__:
        if "__init__" in vars(base):
            known |= set(inspect.signature(base.__init__).parameters)
    # The weights are there already, so how they began does not matter.
    config = {
        key: value
        for key, value in given.items()
        if key in known and key not in _NOT_TAKEN and not key.endswith("_initializer")
    }
    for key, value in config.items():
        if key.endswith(("_regularizer", "_constraint")) and value is not None:
            config[key] = _penalty(key, value)
    return config


def _penalty(key, value):
    get = keras.regularizers.get if key.endswith("_regularizer") else keras.constraints.get
    try:
        return get({"class_name": value["class_name"], "config": value["config"]})
    except (ValueError, TypeError, KeyError) as error:
        raise UnsupportedLayerError(
            f"its {key} {value.get('class_name')!r} is not known to tf_keras"
        ) from error


def _copy(layer, copy):
    wanted, given = ([tuple(weight.shape) for weight in one.weights] for one in (copy, layer))
    if wanted != given:
        raise UnsupportedLayerError(f"its weights have the shapes {given}, and those of tf_keras {wanted}")
    copy.set_weights(layer.get_weights())
