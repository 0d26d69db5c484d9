"""What a network must be before anything is done to it, said before any training."""

from tfsegkd._keras import is_keras3, keras


def check_functional(model, what: str) -> None:
    """Refuses all but functional (or built sequential) networks of tf_keras.

    Args:
        model: What was given.
        what: What takes it, for the message, such as 'quantize'.

    Raises:
        TypeError: with the call that makes it such a network.
    """
    if isinstance(model, keras.Model) and getattr(model, "_is_graph_network", False):
        return
    kind = type(model).__name__
    if is_keras3(model):
        raise TypeError(
            f"{what} takes a functional tf_keras model. Received: {kind} of Keras 3. Adopt it first: "
            f"model, report = tfsegkd.models.adopt(model)."
        )
    if isinstance(model, keras.Model):
        raise TypeError(
            f"{what} takes a functional tf_keras model. Received: {kind}, whose layers cannot be followed. "
            f"Call it on inputs = keras.Input((height, width, 3)), and adopt the result: "
            f"tfsegkd.models.adopt(keras.Model(inputs, model(inputs)))."
        )
    raise TypeError(
        f"{what} takes a functional tf_keras model. Received: {kind}. Build the network with "
        f"keras.Model(inputs, outputs)."
    )


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
