"""Networks from files."""

import json
import os
import zipfile

from tfsegkd._keras import ObjectSharingScope, keras, tfmot
from tfsegkd.models.safety import (
    Refused,
    no_larger_than,
    refuse_code,
    refuse_untrusted,
    unpacked,
    unreadable,
)

_ARRAYS = "model.weights.h5"


def load(path: str | os.PathLike, allow_lambda: bool = False, trust_model: bool = False) -> keras.Model:
    """Loads a network saved by Keras, also a quantization-aware one, without executing code in the file.

    Args:
        path: A `.keras` or `.h5` file, or a directory in SavedModel format.
        allow_lambda: Allow Lambda layers, which are Python code.
        trust_model: Load a SavedModel, whose graph can read and write files.

    Returns:
        The network, not compiled.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read as a Keras model, or holds something that is not allowed.

    Example:
        student.save("saved.keras")
        models.load("saved.keras").output_shape  # (None, 32, 48, 11)
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"No model at {path!r}. Expected a .keras or .h5 file.")
    refuse_untrusted(path, trust_model)
    refuse_code(path, allow_lambda)
    try:
        with tfmot.quantization.keras.quantize_scope(), no_larger_than(path):
            if path.endswith(".keras") and zipfile.is_zipfile(path):
                return _from_archive(path, allow_lambda)
            return keras.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Refused:
        raise
    except Exception as error:  # a malformed description can raise nearly anything
        raise unreadable(path, error) from error


def _from_archive(path: str, allow_lambda: bool) -> keras.Model:
    """Keras' `load_model`, but faster; see `unpacked`."""
    with zipfile.ZipFile(path) as archive:
        description = json.loads(archive.read("config.json"))
        description["compile_config"] = None
        with ObjectSharingScope():
            model = keras.saving.deserialize_keras_object(description, safe_mode=not allow_lambda)
        with unpacked(archive, _ARRAYS) as arrays:
            model.load_weights(arrays)
    return model
