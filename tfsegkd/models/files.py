"""Networks from files."""

import os

from tfsegkd._keras import keras, tfmot
from tfsegkd.models.safety import refuse_code, refuse_untrusted


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
        with tfmot.quantization.keras.quantize_scope():
            return keras.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except (OSError, ValueError, TypeError, KeyError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"Cannot read {path!r} as a Keras model: {first} Expected a .keras or .h5 file that Keras or "
            f"tfsegkd saved."
        ) from error
