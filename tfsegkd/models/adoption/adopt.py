"""Adopts a network, and writes its weights back."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import is_keras3, keras
from tfsegkd.graph import Canonical, canonical, float32_changes, rebuild
from tfsegkd.graph.frontend import Frontend
from tfsegkd.graph.keras_graph import producer
from tfsegkd.models.adoption.binary import with_one_logit
from tfsegkd.models.adoption.comparison import check_same
from tfsegkd.models.adoption.head import with_logits_head, with_rows_and_columns, without_activation
from tfsegkd.models.adoption.keras3 import Keras3Frontend, check_backend
from tfsegkd.models.heads import check_one_output, output_names
from tfsegkd.models.sizes import sizes_that_fit

# How bright red, green and blue are, by ITU-R BT.601, which PIL and TensorFlow take for grey pictures.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class AdoptionReport:
    """What it took to make a network one of ours.

    Args:
        name: The network's.
        keras: 'tf_keras' or 'keras 3'.
        input_shape: (height, width, 3).
        num_classes: The channels of its logits.
        opened: The models and composite layers that were opened, as path and class.
        replaced: What was an operation or an inline activation, and the layer that it is now.
        removed: What is not there any more: the softmax or sigmoid at the end, what only acts in training,
            half precision.
        added: What makes it one of ours: grey out of RGB, a second logit where there was one, layers that
            bring the logits to the size of the input.
        renamed: (path, name) of the layers that could not keep their name.
        difference: The largest difference on a random batch, relative to the largest value, of what goes into
            the last softmax or sigmoid, or of the outputs where there is none; before logits were resized.

    Example:
        network, report = models.adopt(your_model, pixel_range=(-1, 1))
        report.num_classes, report.input_shape  # (11, (32, 48, 3))
        report.removed, report.added  # the softmax at the end, the scaling of pixels at the beginning
    """

    name: str
    keras: str
    input_shape: tuple[int, int, int]
    num_classes: int
    opened: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    difference: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


class Adoption:
    """A network from elsewhere as one of ours, with a way back for the weights.

    Args:
        model, pixel_range, input_shape, output: As in `adopt`.

    Attributes:
        model: The adopted network.
        report: What was done.
        original: The network that was adopted.

    Raises:
        TypeError, ValueError: as `adopt` does.

    Example:
        adoption = models.Adoption(your_model, pixel_range=(-1, 1))
        adoption.model.output_shape  # (None, 32, 48, 11)
        adoption.write_back()  # the weights of adoption.model are your_model's again
    """

    def __init__(
        self,
        model,
        pixel_range: tuple[float, float] = (0.0, 255.0),
        input_shape: Sequence[int] | None = None,
        output: str | None = None,
    ):
        self.original = model
        frontend = _frontend(model)
        _check_inputs(model, input_shape)
        _check_scores(model, output)
        is_grey = _takes_grey(model)
        preprocessing = _preprocessing(_pixels_to(pixel_range), is_grey)
        shape = _input_shape(model, input_shape, is_grey)
        if input_shape is not None:
            _check_size(model, tuple(input_shape[:2]))
        found = canonical(model, shape, preprocessing, frontend=frontend, output=_chosen(model, output))
        _check_output(model, found)
        halves = float32_changes(found.graph)
        complete = rebuild(found.graph, halves)
        difference = check_same(
            model,
            complete,
            found,
            preprocessing=preprocessing,
            frontend=frontend,
            output=_chosen(model, output),
        )
        head = with_logits_head(found.graph)
        graph, removed, added = head.graph, head.removed, head.added
        self.model = complete if graph is found.graph else rebuild(graph, halves)
        self._sources = {name: found.sources[name] for name in graph.layers() if name in found.sources}
        self._two_logits = head.two_logits
        if is_grey:
            added = ("a Conv2D that makes grey images of RGB ones, by their luminance", *added)
        if halves or (is_keras3(model) and frontend.is_half):
            removed = ("half precision: it computes in float32", *removed)
        self.report = AdoptionReport(
            name=model.name,
            keras="keras 3" if isinstance(frontend, Keras3Frontend) else "tf_keras",
            input_shape=tuple(self.model.input_shape[1:]),
            num_classes=self.model.output_shape[-1],
            opened=found.opened,
            replaced=found.replaced,
            removed=(*(f"{what}: it only acts in training" for what in found.removed), *removed),
            added=added,
            renamed=found.renamed,
            difference=difference,
        )

    def write_back(self) -> None:
        """Copies the weights of `model` into the layers of `original` that they came from."""
        for name, source in self._sources.items():
            weights = self.model.get_layer(name).get_weights()
            source.set_weights(with_one_logit(weights, source) if name == self._two_logits else weights)

    def take_over(self) -> None:
        """Copies the weights of `original` into the layers of `model` that came from them."""
        for name, source in self._sources.items():
            self.model.get_layer(name).set_weights(source.get_weights())


def adopt(
    model: Any,
    pixel_range: tuple[float, float] = (0.0, 255.0),
    input_shape: Sequence[int] | None = None,
    output: str | None = None,
) -> tuple[keras.Model, AdoptionReport]:
    """Makes any Keras network one of ours, which can be distilled, pruned, quantized and exported.

    The new network has the same weights and gives the same outputs, which is checked on a random batch. It
    is flat, made of plain layers, takes float32 RGB pixels 0…255 and gives logits of two or more classes at
    the size of its input. A softmax or sigmoid at the end is removed, also one before a last resize; one
    channel becomes two, the background and the class, whose softmax is the sigmoid. Where convolutions
    without padding have eaten the border, the output is put in its place and not stretched. A network of
    grey images gets their luminance. Mixed precision becomes float32. Layers keep their names where they are
    free, and stay frozen where they were. The original is left alone.

    Args:
        model: A functional or sequential network of tf_keras or Keras 3, or a subclass of these that calls
            layers and operations in a fixed way, such as those of keras-cv. One without inputs, whose `call`
            is its own, needs input_shape.
        pixel_range: The darkest and the brightest pixel that it expects. The mapping from 0…255 becomes
            part of the new network.
        input_shape: (height, width), for a network that takes several or has no inputs.
        output: Which output to keep, by name, for a network of several; what only the others need goes.

    Returns:
        The network with the same weights and outputs, and what it took.

    Raises:
        TypeError: if it is no Keras model, or has no inputs and no input_shape was given.
        ValueError: for parts that no plain layer can do, each named; for inputs that are not images, several
            outputs of which none is chosen, or one that is not one value a class and pixel; if what goes into
            the last softmax, or the outputs, differ by more than 1e-5 of the largest and by more than the
            network's own rounding, with the first layer that differs.

    Example:
        network, report = models.adopt(your_model, pixel_range=(-1, 1))  # which takes pixels from −1 to 1
        print(report)
        quantized = quantization.quantize(network, calibration=images)
    """
    adoption = Adoption(model, pixel_range, input_shape, output=output)
    return adoption.model, adoption.report


def _frontend(model) -> Frontend:
    if is_keras3(model):
        check_backend()
        return Keras3Frontend()
    if isinstance(model, keras.Model):
        return Frontend()
    raise TypeError(
        f"Only a Keras model can be adopted. Received: {type(model).__name__}. Load it with Keras first, or "
        f"use it as a teacher."
    )


def _pixels_to(pixel_range):
    low, high = map(float, pixel_range)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(
            f"pixel_range must be the darkest and the brightest pixel, such as (0, 1) or (-1, 1). Received: "
            f"{tuple(pixel_range)}."
        )
    if (low, high) == (0.0, 255.0):
        return None
    return lambda images: images * np.float32((high - low) / 255.0) + np.float32(low)


def _takes_grey(model) -> bool:
    inputs = getattr(model, "inputs", None) or []
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[-1] == 1


def _preprocessing(to_range, is_grey: bool):
    """What the pixels go through before the model."""
    if not is_grey:
        return to_range

    def enter(images):
        grey = tf.nn.conv2d(images, tf.reshape(tf.constant(_LUMINANCE), [1, 1, 3, 1]), 1, "VALID")
        return grey if to_range is None else to_range(grey)

    return enter


def _input_shape(model, input_shape, is_grey: bool):
    """(H, W, 3) of the images: what was asked for, or the model's own."""
    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if inputs and (len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] not in (1, 3, None)):
        raise ValueError(
            f"Model {model.name!r} must take one batch of images, (None, H, W, 3), or grey ones. Received: "
            f"inputs of shapes {shapes}. Adopt a model of images alone."
        )
    if input_shape is None:
        return (*shapes[0][1:3], 3) if is_grey else None
    if len(input_shape) not in (2, 3):
        raise ValueError(f"input_shape must be (height, width). Received: {tuple(input_shape)}.")
    return (*input_shape[:2], 3)


def _check_inputs(model, input_shape):
    """Refuses a network that nobody has called yet."""
    if getattr(model, "inputs", None) or model.built:
        return
    size = "(1, height, width, 3)" if input_shape is None else (1, *input_shape[:2], 3)
    raise TypeError(
        f"Model {model.name!r} ({type(model).__name__}) has no weights yet. Expected one that has been "
        f"called or built. Call it on a batch of shape {size} and load its weights, then adopt it."
    )


def _check_scores(model, output: str | None):
    """Refuses a network that gives the numbers of classes."""
    outputs = getattr(model, "outputs", None) or []
    index = _chosen(model, output)
    if len(outputs) == 1 or index is not None:
        chosen = outputs[index or 0]
        if not tf.as_dtype(chosen.dtype).is_floating:
            layer = producer(chosen).layer
            raise ValueError(
                f"Model {model.name!r} must give one value for each class and pixel, (N, H, W, C). Received: "
                f"numbers of classes, {tf.as_dtype(chosen.dtype).name} of shape {tuple(chosen.shape)}, from "
                f"{layer.name!r}. Adopt keras.Model(model.input, what {layer.name!r} is called on)."
            )


def _check_size(model, size: tuple[int, int]):
    """Refuses a size of which the network's own layers do not fit one another."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or None not in tuple(inputs[0].shape)[1:3]:
        return  # the size is the model's own: others say what is wrong

    def takes(size):
        images = tf.TensorSpec((1, *size, inputs[0].shape[-1] or 3), tf.float32)
        tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(images)

    try:
        takes(size)
    except Exception as error:  # whatever a layer says of a size that it cannot take
        raise ValueError(
            f"Model {model.name!r} cannot take images of {size}: {checks.quoted(error)}. "
            f"{sizes_that_fit(takes, size)}"
        ) from error


def _chosen(model, output: str | None) -> int | None:
    """The index of the output to keep; None for the only one."""
    if not getattr(model, "outputs", None):
        return None
    if output is None:
        check_one_output(model, "Model", "Choose one with adopt(model, output='…').")
        return None
    names = output_names(model)
    return names.index(checks.one_of(output, names, f"The output of {model.name!r}"))


def _check_output(model, found: Canonical):
    graph = found.graph
    if len(tf.nest.flatten(graph.outputs)) == 1:
        graph, _ = with_rows_and_columns(without_activation(graph)[0])
    outputs = tf.nest.flatten(graph.outputs)
    if len(outputs) != 1 or len(outputs[0].shape) != 4:
        raise ValueError(
            f"Model {model.name!r} must give one value for each class and pixel, (N, H, W, C). Received: "
            f"{[tensor.shape for tensor in outputs]}. Adopt keras.Model(model.input, what it gives before it "
            f"flattens pixels or chooses classes)."
        )
