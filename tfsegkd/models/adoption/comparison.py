"""Compares an adopted network with the original."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import Canonical
from tfsegkd.graph.frontend import Frontend
from tfsegkd.graph.precision import HALF
from tfsegkd.graph.tracing import record
from tfsegkd.models.adoption.head import activation_of, head_node

TOLERANCE = 1e-5
# Half precision has 11 bits, and a network a few dozen roundings.
_HALF_TOLERANCE = 0.03
# How much a pixel is moved, relatively, to see what rounding does to the output: a few of float32's steps.
_ROUNDING = 1e-6
# Above the network's own rounding, and never above this, a difference is a fault.
_ABOVE_NOISE, _MOST = 4.0, 1e-2


def check_same(
    model,
    adopted: keras.Model,
    found: Canonical,
    preprocessing,
    frontend: Frontend,
    output: int | None = None,
) -> float:
    """Runs both on a random batch; returns the largest difference relative to the largest output.

    Where the network ends in a softmax or sigmoid, what goes into it is compared: probabilities near 0 and 1
    would hide a difference.

    Deep networks amplify rounding: some differ from themselves, run as a graph, by more than 1e-5. So a
    difference above that is compared with what moving the pixels by a few of float32's steps makes.

    Args:
        output: Which of the original's outputs was kept; None for the only one.

    Raises:
        ValueError: if it is above 1e-5 and above four times the network's own rounding; the message names the
            first layer that differs.
    """
    # Whole numbers, as images have them: some networks begin with a cast.
    images = np.random.default_rng(0).integers(0, 256, (2, *adopted.input_shape[1:])).astype(np.float32)
    pixels = images if preprocessing is None else preprocessing(tf.constant(images))

    def whole(images=pixels):
        outputs = model(images, training=False)
        return outputs if output is None else tf.nest.flatten(outputs)[output]

    run, ours = whole, adopted
    before = _before_activation(found)
    if before is not None:
        path, head = before

        def run(images=pixels):
            calls = record(model, lambda: whole(images), frontend.is_leaf, frontend.splits).calls
            (logits,) = (call.outputs for call in calls if call.path == path)
            return logits

        ours = keras.Model(adopted.inputs, adopted.get_layer(head).input)

    expected = run()
    if not np.isfinite(np.asarray(tf.nest.flatten(expected)[0], np.float32)).all():
        raise ValueError(
            f"Model {model.name!r} gives numbers that are not finite on random pixels, so its adoption "
            f"cannot be checked. Expected finite outputs. Load its trained weights first, or set pixel_range."
        )
    difference = _difference(expected, ours(images, training=False))
    tolerance = _HALF_TOLERANCE if _is_half(model) else TOLERANCE
    if difference > tolerance:
        tolerance = max(tolerance, min(_MOST, _ABOVE_NOISE * _noise(run, expected, pixels)))
    if difference > tolerance:
        raise ValueError(
            f"The adopted network computes something else than {model.name!r}. Expected outputs equal to "
            f"{tolerance:.1e}. Received: a difference of {difference:.2e} of the largest output. "
            f"{_first_fault(model, adopted, found, run=whole, images=images, frontend=frontend)}"
        )
    return difference


def _before_activation(found: Canonical) -> tuple[tuple[str, ...], str] | None:
    """The path of the call that makes what the last activation is given, and the name of that activation.

    None where there is no such activation, or no single call makes it.
    """
    node, _ = head_node(found.graph)
    if activation_of(node) is None:
        return None
    paths = [call.path for call, _, _ in found.calls]
    producers = [call.path for call, _, number in found.calls if number == node.inputs[0].id]
    return (producers[0], node.name) if producers and paths.count(producers[0]) == 1 else None


def _difference(expected, given) -> float:
    expected, given = (np.asarray(tf.nest.flatten(one)[0], np.float64) for one in (expected, given))
    largest = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
    return float(np.nan_to_num(np.abs(given - expected).max() / largest, nan=np.inf))


def _is_half(model) -> bool:
    return any(getattr(layer, "compute_dtype", None) in HALF for layer in model._flatten_layers())


def _noise(run, expected, pixels) -> float:
    """How far the network differs from itself, run as a graph and on pixels that are rounded otherwise."""
    random = np.random.default_rng(1)
    pixels = np.asarray(pixels)
    # Upwards only: whole numbers stay what they are where a network casts them.
    rounded = (pixels * (1 + _ROUNDING * random.uniform(0.5, 1, pixels.shape))).astype(np.float32)
    return max(_difference(expected, other) for other in (tf.function(run)(), run(tf.constant(rounded))))


def _first_fault(model, adopted, found, run, images, frontend) -> str:
    """Which layer is the first whose output differs."""
    recorded = record(model, run, frontend.is_leaf, frontend.splits).calls
    calls = {id(call.layer): [] for call in recorded}
    for call in recorded:
        calls[id(call.layer)].append(call.outputs)
    tensors, expected, names = [], [], []
    uses = {}
    for call, name, _ in found.calls:
        if id(call.layer) not in calls:
            continue  # an activation, which is another object in each run
        index = uses.get(name, 0)
        uses[name] = index + 1
        if calls[id(call.layer)]:
            tensors.append(adopted.get_layer(name).get_output_at(index))
            expected.append(calls[id(call.layer)].pop(0))
            names.append(f"{'/'.join(call.path[1:])!r} ({type(call.layer).__name__})")
    given = keras.Model(adopted.inputs, tensors)(images, training=False)
    for name, one, other in zip(names, expected, given, strict=True):
        if _difference(one, other) > TOLERANCE:
            return f"The first layer whose output differs is {name}."
    return "Each layer alone gives the same; look at the operations between the layers."
