"""The only module that chooses a Keras: tf_keras, whatever the user's `tf.keras` is.

TF-MOT is built on Keras 2, so tf_keras trains our networks. Importing TF-MOT sets TF_USE_LEGACY_KERAS
for the whole process, which would turn the user's own `tf.keras` into Keras 2 if nothing had touched it
yet. We therefore let `tf.keras` resolve to the user's choice first, and put the variable back.
"""

import os

import tensorflow as tf

_VARIABLE = "TF_USE_LEGACY_KERAS"
_chosen_by_user = os.environ.get(_VARIABLE)
# Any attribute access makes the lazy `tf.keras` load the Keras that the user's variable asks for.
getattr(tf.keras, "layers")  # noqa: B009

import tensorflow_model_optimization as tfmot  # noqa: E402
import tf_keras as keras  # noqa: E402
from tf_keras.src.saving.serialization_lib import ObjectSharingScope  # noqa: E402

if _chosen_by_user is None:
    os.environ.pop(_VARIABLE, None)
else:
    os.environ[_VARIABLE] = _chosen_by_user

__all__ = [  # noqa: F822
    "Interpreter",
    "ObjectSharingScope",
    "is_keras3",
    "keras",
    "keras3",
    "tflite_schema",
    "tfmot",
]


def __getattr__(name):
    # LiteRT and Keras 3 are loaded on first use: most processes never run a .tflite or an external teacher.
    if name == "Interpreter":
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter
    if name == "tflite_schema":
        from ai_edge_litert import schema_py_generated

        return schema_py_generated
    if name == "keras3":
        return _import_keras3()
    raise AttributeError(name)


def is_keras3(item, base: str = "Model") -> bool:
    """Returns whether an object is of Keras 3, without importing Keras 3.

    Args:
        item: Any object.
        base: The required base class of Keras 3, such as 'Optimizer'.
    """
    return any(
        kind.__name__ == base and kind.__module__.split(".")[0] == "keras" for kind in type(item).__mro__
    )


def _import_keras3():
    """Keras 3, the package `keras`, whatever `tf.keras` is."""
    import keras as keras3

    if not keras3.__version__.startswith("3."):
        raise ImportError(
            f"A teacher of Keras 3 needs Keras 3. Received: keras {keras3.__version__}. Install keras>=3."
        )
    return keras3
