"""Whether an adopted network does what the original does."""

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.graph import Canonical
from tfsegkd.graph.dialect import Dialect
from tfsegkd.graph.tracing import record

TOLERANCE = 1e-5


def check_same(model, adopted: keras.Model, found: Canonical, entrance, dialect: Dialect) -> float:
    """Runs both on a random batch; returns the largest difference relative to the largest output.

    Raises:
        ValueError: if that is above 1e-5; the message names the first layer that differs.
    """
    # Whole numbers, as images have them: some networks begin with a cast.
    images = np.random.default_rng(0).integers(0, 256, (2, *adopted.input_shape[1:])).astype(np.float32)
    seen = images if entrance is None else entrance(tf.constant(images))

    def run():
        return model(seen, training=False)

    expected = run()
    if not np.isfinite(np.asarray(tf.nest.flatten(expected)[0])).all():
        raise ValueError(
            f"Model {model.name!r} gives numbers that are not finite on random pixels, so its adoption "
            f"cannot be checked. Expected finite outputs. Load its trained weights first, or set pixel_range."
        )
    difference = _difference(expected, adopted(images, training=False))
    if difference > TOLERANCE:
        raise ValueError(
            f"The adopted network computes something else than {model.name!r}. Expected outputs equal to "
            f"{TOLERANCE}. Received: a difference of {difference:.2e} of the largest output. "
            f"{_first_fault(model, adopted, found, run, images, dialect)}"
        )
    return difference


def _difference(expected, given) -> float:
    expected, given = (np.asarray(tf.nest.flatten(one)[0], np.float64) for one in (expected, given))
    largest = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
    return float(np.nan_to_num(np.abs(given - expected).max() / largest, nan=np.inf))


def _first_fault(model, adopted, found, run, images, dialect) -> str:
    """Which layer is the first whose output differs."""
    heard = record(model, run, dialect.is_leaf, dialect.splits).calls
    calls = {id(call.layer): [] for call in heard}
    for call in heard:
        calls[id(call.layer)].append(call.outputs)
    tensors, expected, names = [], [], []
    uses = {}
    for call, name, _ in found.calls:
        if id(call.layer) not in calls:
            continue  # an activation, which is another object in each run
        place = uses.get(name, 0)
        uses[name] = place + 1
        if calls[id(call.layer)]:
            tensors.append(adopted.get_layer(name).get_output_at(place))
            expected.append(calls[id(call.layer)].pop(0))
            names.append(f"{'/'.join(call.path[1:])!r} ({type(call.layer).__name__})")
    given = keras.Model(adopted.inputs, tensors)(images, training=False)
    for name, one, other in zip(names, expected, given, strict=True):
        if _difference(one, other) > TOLERANCE:
            return f"The first layer whose output differs is {name}."
    return "Each layer alone gives the same; look at the operations between the layers."
