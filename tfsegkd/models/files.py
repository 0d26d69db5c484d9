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
            if path.endswith(".keras") and zipfile.is_zipfile(path):
                return _from_archive(path, allow_lambda)
            return keras.models.load_model(path, compile=False, safe_mode=not allow_lambda)
    except Refused:
        raise
    except Exception as error:  # a malformed description can raise nearly anything
        raise unreadable(path, error) from error


def _from_archive(path: str, allow_lambda: bool) -> keras.Model:
    """What Keras' `load_model` gives, in a fraction of its time; see `unpacked`."""
    with zipfile.ZipFile(path) as archive:
        description = json.loads(archive.read("config.json"))
        description["compile_config"] = None
        with ObjectSharingScope():
            model = keras.saving.deserialize_keras_object(description, safe_mode=not allow_lambda)
        with unpacked(archive, _ARRAYS) as arrays:
            model.load_weights(arrays)
    return model
