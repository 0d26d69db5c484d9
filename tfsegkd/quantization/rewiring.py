"""A flat functional model built anew, layer by layer."""

from collections.abc import Callable

from tfsegkd._keras import keras
from tfsegkd.quantization.placement import producers


def rewire(model: keras.Model, call: Callable) -> keras.Model:
    """Builds `model` anew from what `call` makes of each of its layers.

    Args:
        call: (layer, inputs) → output; `inputs` is the new model's tensor, or a list of them.

    Raises:
        ValueError: if the layers of `model` are called more than once (see `placement.check_layers`).
    """
    inputs, tensors = [], {}
    for layer in model.layers:  # Keras lists them in an order in which they can run
        taken = [tensors[producer.name] for producer in producers(layer)]
        if isinstance(layer, keras.layers.InputLayer):
            inputs.append(keras.Input(batch_shape=tuple(layer.output.shape), name=layer.name))
            taken = inputs[-1:]
        tensors[layer.name] = call(layer, taken[0] if len(taken) == 1 else taken)
    outputs = [tensors[name] for name in model.output_names]
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)


def copy(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights that shares none of them with `model`."""
    twin = keras.Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    return twin
