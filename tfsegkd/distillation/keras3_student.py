"""Write-back of trained weights to a Keras 3 student."""

import inspect

from tfsegkd import models
from tfsegkd._keras import keras


class WriteBack(keras.callbacks.Callback):
    """Writes the weights back at the end of each epoch.

    Args:
        adoption: The student's adoption.
    """

    def __init__(self, adoption: models.Adoption):
        super().__init__()
        self._adoption = adoption

    def on_epoch_end(self, epoch, logs=None):
        self._adoption.write_back()


def with_callback(callback, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Returns the arguments of `fit` with one more callback, before the others."""
    bound = inspect.signature(keras.Model.fit).bind(None, *args, **kwargs)
    others = bound.arguments.get("callbacks") or []
    if isinstance(others, keras.callbacks.CallbackList):
        others.callbacks.insert(0, callback)
    else:
        others = others if isinstance(others, list | tuple) else [others]
        bound.arguments["callbacks"] = [callback, *others]
    return bound.args[1:], bound.kwargs
