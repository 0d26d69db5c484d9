"""Reading features out of a network while it runs once."""

import difflib
from collections.abc import Callable, Iterable

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.distillation.terms import LOGITS

# TF-MOT renames the layers that it wraps.
_PREFIXES = ("", "quant_", "prune_low_magnitude_")


def tapped(model: keras.Model, taps: Iterable[str], role: str) -> Callable:
    """`model` with its taps: one forward pass gives a dictionary of what each tap computes.

    Args:
        model: A functional network, wrapped by TF-MOT or not.
        taps: Names of layers; 'logits' is the network's output whatever its layer is called.
        role: 'teacher' or 'student', for messages.

    Raises:
        ValueError: for a tap that is not there; the message lists the choices.
    """
    outputs = {tap: model.outputs[0] if tap == LOGITS else _output(model, tap, role) for tap in taps}
    return keras.Model(model.inputs, outputs)


def _output(model, tap, role):
    layers = {layer.name: layer for layer in model.layers}
    for prefix in _PREFIXES:
        if prefix + tap in layers:
            return layers[prefix + tap].output
    known = models.taps(model) or [LOGITS]
    close = difflib.get_close_matches(tap, layers, n=3)
    raise ValueError(
        f"Tap {tap!r} not found in {role} {model.name!r}. Expected one of {known}, or "
        f"the name of any other layer{f' such as {close}' if close else ''}. Set it in "
        f"--distill=loss@teacher_tap:student_tap."
    )
