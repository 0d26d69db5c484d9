"""Networks from files."""

import os

from tfsegkd._keras import keras, tfmot


def load(path: str | os.PathLike) -> keras.Model:
    """Loads a network saved by Keras, quantization-aware ones included.

    Args:
        path: A `.keras` or `.h5` file, or a directory in SavedModel format.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read as a Keras model.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"No model at {path!r}. Expected a .keras or .h5 file.")
    try:
        with tfmot.quantization.keras.quantize_scope():
            return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"Cannot read {path!r} as a Keras model: {first} Expected a .keras or .h5 file that Keras or "
            f"tfsegkd saved."
        ) from error
