"""The frontend for a Keras: which layers are opened, and which activations are split off."""

from typing import Any

from tfsegkd._keras import keras
from tfsegkd.graph.layer_spec import inherited, is_known, spec_of
from tfsegkd.graph.tracing import Call, Function

layers = keras.layers

# Operations that Keras wrapped into layers.
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
# Activations that stay layers. The others are looked into: a swish is a sigmoid and a product.
_KEPT = ("elu", "exponential", "gelu", "linear", "mish", "relu", "relu6", "selu", "sigmoid", "softmax")
_KEPT += ("softplus", "softsign", "tanh")


class Frontend:
    """How to read the layers of tf_keras. A subclass reads those of another Keras."""

    package = keras.__name__

    def is_leaf(self, layer) -> bool:
        """Whether `layer` is taken as a whole."""
        if isinstance(layer, keras.Model) or type(layer).__name__ in _OPERATIONS or spec_of(layer).opened:
            return False
        if isinstance(layer, layers.Lambda):  # the trace has its operations
            return False
        if isinstance(layer, layers.Activation):
            return self.known(layer.activation) is not None
        if is_known(type(layer)):
            return True
        ours = type(layer).__module__.split(".")[0] in (self.package, "tfsegkd")
        return ours or bool(own_weights(layer))

    def can_stay(self, layer) -> bool:
        """Whether `layer`, which cannot be looked into, may be taken as a whole after all."""
        if type(layer).__module__.split(".")[0] == self.package:
            return False
        try:
            type(layer).from_config(layer.get_config())
        except Exception:  # the user's code may fail in any way when it is rebuilt
            return False
        return True

    def known(self, activation) -> str | None:
        """The name of an activation that every Keras has, else None."""
        name = getattr(activation, "__name__", None)
        home = getattr(activation, "__module__", None) or ""
        return name if home.split(".")[0] == self.package and name in _KEPT else None

    def splits(self, layer, activation) -> Function | bool:
        """What to do with the activation inside a layer: see `tracing.trace`."""
        return inherited(layer).has_activation and self.decide(activation)

    def decide(self, activation) -> Function | bool:
        """The same of an activation alone."""
        name = "linear" if activation is None else self.known(activation)
        if name in ("linear", "relu"):
            return False
        return True if name is None else Function(name)

    def convert(self, call: Call, shapes: Any) -> keras.layers.Layer:
        """The layer for a call, with its weights.

        Args:
            shapes: The shape of what it is called on, or a list of shapes.

        Raises:
            UnsupportedLayerError: if there is none.
        """
        layer = call.layer
        if not call.is_linear:
            return layer
        linear = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        linear.build(shapes)
        linear.set_weights(layer.get_weights())
        linear.trainable = layer.trainable
        return linear


def own_weights(layer) -> list:
    """The weights of `layer` that no layer inside it has."""
    inside = {id(w) for part in layer._flatten_layers(include_self=False) for w in part.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]
