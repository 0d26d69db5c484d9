"""The canonical form of a model: a flat graph of plain Keras layers, whatever it was written with.

`x + y` becomes an Add, `tf.image.resize` an UpSampling2D, a hard swish inside a convolution layers of its
own; models and composite layers are opened. What compressors and converters see is one small vocabulary.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfsegkd.graph.frontend import Frontend
from tfsegkd.graph.reading import Canonical, Reading
from tfsegkd.graph.tracing import BATCH, trace


def canonical(
    model,
    input_shape: Sequence[int] | None = None,
    preprocessing: Callable | None = None,
    frontend: Frontend | None = None,
    output: int | None = None,
) -> Canonical:
    """Reads a model as a flat graph of Keras layers, each with a name of its own.

    Nested models and composite layers are opened; operations become layers; activations other than ReLU
    leave the layers that they are in; layers without weights that are called several times become several.
    Layers with weights keep them, and are shared where they were.

    Args:
        model: A built model, of tf_keras or what `frontend` reads.
        input_shape: (H, W, C), for a model of one input that leaves some of them open or has no inputs.
        preprocessing: A function of TensorFlow that the (first) input goes through before the model; it
            becomes layers.
        frontend: How to read its layers; tf_keras unless given.
        output: Which of its outputs to keep; all of them unless given.

    Raises:
        TypeError: if the model has no inputs to begin at, and no input_shape was given.
        ValueError: for open sizes, for a model that cannot be called on images of this size, or for what no
            Keras layer does; the message names each of these places.
    """
    frontend = frontend or Frontend()
    if not getattr(model, "inputs", None) and (input_shape is None or None in tuple(input_shape)):
        raise TypeError(
            f"Only a model with inputs can be read. Received: {type(model).__name__}. Build the network with "
            f"keras.Model(inputs, outputs), or pass input_shape=(height, width)."
        )
    specs = _specs(model, input_shape, preprocessing is not None)

    def run(tensors, training):
        first = tensors[0] if preprocessing is None else preprocessing(tensors[0])
        outputs = model(first if len(tensors) == 1 else [first, *tensors[1:]], training=training)
        return outputs if output is None else tf.nest.flatten(outputs)[output]

    opaque: set[int] = set()

    def is_leaf(layer):
        return id(layer) in opaque or frontend.is_leaf(layer)

    while True:
        found = trace(model, specs, run, is_leaf=is_leaf, splits=frontend.splits)
        reading = Reading(model, found, frontend)
        # What cannot be looked into stays a layer of its own, if it is one that can be rebuilt.
        more = {id(layer) for layer in reading.unopened} - opaque
        if not more:
            return reading.finish()
        opaque |= more


def _specs(model, input_shape, has_preprocessing):
    # A subclassed model has no inputs; what it is called on is all that is known.
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    shapes = shapes or [(None, *input_shape)]
    if input_shape is not None:
        if len(shapes) > 1 or len(shapes[0]) != len(input_shape) + 1:
            raise ValueError(
                f"input_shape={tuple(input_shape)} does not fit the inputs of model {model.name!r}, which "
                f"have the shapes {shapes}. Give a size for each axis but the first of a single input."
            )
        # What the preprocessing makes of the channels is its own affair.
        for size, asked in list(zip(shapes[0][1:], input_shape, strict=True))[
            : -1 if has_preprocessing else None
        ]:
            if size not in (None, asked):
                raise ValueError(
                    f"Model {model.name!r} is built for inputs {shapes[0]}. Received: "
                    f"input_shape={tuple(input_shape)}. Leave input_shape out."
                )
        shapes = [(shapes[0][0], *input_shape)]
    if any(size is None for shape in shapes for size in shape[1:]):
        raise ValueError(
            f"Model {model.name!r} leaves its input size open: {shapes}. Expected a number for every axis "
            f"but the first. Pass input_shape=(height, width)."
        )
    return [tf.TensorSpec((shape[0] or BATCH, *shape[1:]), tf.float32) for shape in shapes]
