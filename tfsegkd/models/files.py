"""Networks from files."""

import os

from tfsegkd._keras import keras, tfmot
from tfsegkd.models.safety import Refused, no_larger_than, refuse_code, refuse_untrusted, unreadable


def load(path: str | os.PathLike, allow_lambda: bool = False, trust_model: bool = False) -> keras.Model:
    """Loads a network saved by Keras, quantization-aware ones included; nothing in the file can act.

    Args:
        path: A `.keras` or `.h5` file, or a directory in SavedModel format.
        allow_lambda: Let Lambda layers pass, which are Python code.
        trust_model: Load a SavedModel, whose graph can read and write files.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read as a Keras model, or holds what has not been allowed.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"No model at {path!r}. Expected a .keras or .h5 file.")
    refuse_untrusted(path, trust_model)
    refuse_code(path, allow_lambda)
    try:
        with tfmot.quantization.keras.quantize_scope(), no_larger_than(path):
            return keras.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Refused:
        raise
    except Exception as error:  # a malformed description can raise nearly anything
        raise unreadable(path, error) from error
