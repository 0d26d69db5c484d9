"""Requirements on the networks that are passed in, checked before any training."""

from typing import NoReturn

from tfsegkd._keras import is_keras3, keras
from tfsegkd.graph.keras_graph import is_functional


def check_functional(model, what: str) -> None:
    """Refuses all but functional (or built sequential) networks of tf_keras.

    Args:
        model: What was given.
        what: What takes it, for the message, such as 'quantize'.

    Raises:
        TypeError: with the call that makes it such a network.
    """
    if not is_functional(model):
        refuse_not_functional(model, what)


def refuse_not_functional(model, what: str) -> NoReturn:
    """Raises the TypeError of `check_functional`."""
    received, fix = type(model).__name__, "Build the network with keras.Model(inputs, outputs)."
    if is_keras3(model):
        received += " of Keras 3"
        fix = "Adopt it first: model, report = tfsegkd.models.adopt(model)."
    elif isinstance(model, keras.Model):
        received += ", whose layers cannot be followed"
        fix = (
            "Call it on inputs = keras.Input((height, width, 3)), and adopt the result: "
            "tfsegkd.models.adopt(keras.Model(inputs, model(inputs)))."
        )
    raise TypeError(f"{what} takes a functional tf_keras model. Received: {received}. {fix}")


def check_images(model, what: str, fixed: bool = True) -> None:
    """Refuses a network that does not take RGB images.

    Args:
        model: A network with inputs, of either Keras.
        what: What needs it so, for the message.
        fixed: Whether their height and width must be fixed.

    Raises:
        ValueError: for several inputs, other channels or an open size, with the call that fixes it.
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"{what} needs a network of one input (N, H, W, 3). Received: {model.name!r} with inputs of "
            f"shapes {shapes}. Build it for images alone."
        )
    (_, *size, channels) = shapes[0]
    if channels != 3 and (fixed or channels is not None):
        raise ValueError(
            f"{what} needs a network of RGB images, (N, H, W, 3). Received: {model.name!r} with inputs "
            f"{shapes[0]}. A network of grey images becomes one of RGB by tfsegkd.models.adopt(model); for "
            f"other channels, build it for 3."
        )
    if fixed and None in size:
        raise ValueError(
            f"{what} needs a network of fixed height and width. Received: {model.name!r} with inputs "
            f"{shapes[0]}. Take a copy at the size at which it will run: tfsegkd.models.at_size(model, "
            f"(height, width))."
        )
