"""We train with tf_keras, and the user's tf.keras stays what the user made it."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

# In a process of its own, because a process decides only once what tf.keras is.
SCRIPT = """
import json, os, sys
import tensorflow as tf
touched = tf.keras.layers.Dense if {touched_first} else None
import tfsegkd
from tfsegkd._keras import keras, tfmot
before_litert = "ai_edge_litert" in sys.modules
inputs = keras.Input((4, 4, 3))
outputs = keras.layers.Conv2D(2, 3, padding="same")(inputs)
quantized = tfmot.quantization.keras.quantize_model(keras.Model(inputs, outputs))
quantized.compile("sgd", "mse")
quantized.fit(tf.zeros((1, 4, 4, 3)), tf.zeros((1, 4, 4, 2)), verbose=0)
from tfsegkd._keras import Interpreter
print(json.dumps(dict(
    variable=os.environ.get("TF_USE_LEGACY_KERAS"),
    users=tf.keras.layers.Dense.__module__.split(".")[0],
    unchanged=touched in (None, tf.keras.layers.Dense),
    ours=keras.__version__,
    quantized=sum("quant" in layer.name for layer in quantized.layers),
    before_litert=before_litert,
    interpreter=Interpreter.__name__,
)))
"""


@pytest.mark.parametrize(
    ("variable", "touched_first", "package"),
    [
        (None, True, "keras"),
        ("1", False, "tf_keras"),
        pytest.param(None, False, "keras", marks=pytest.mark.slow),
        pytest.param("0", True, "keras", marks=pytest.mark.slow),
    ],
)
def test_the_users_keras_is_left_alone(variable, touched_first, package):
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if variable is not None:
        environment["TF_USE_LEGACY_KERAS"] = variable
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{touched_first}", str(touched_first))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout.splitlines()[-1])
    assert result == {
        "variable": variable,
        "users": package,
        "unchanged": True,
        "ours": importlib.metadata.version("tf_keras"),
        "quantized": 2,
        "before_litert": False,
        "interpreter": "Interpreter",
    }


# A Keras 3 file teaches a tf_keras student, whatever `tf.keras` is.
TEACHER = """
import sys
import tensorflow as tf
from tfsegkd import models
from tfsegkd.distillation import Distiller, load_teacher
from tfsegkd._keras import keras
import keras as keras3
inputs = keras3.Input((32, 32, 3))
x = keras3.layers.BatchNormalization(name="norm")(inputs)
keras3.Model(inputs, keras3.layers.Conv2D(2, 1)(x)).save(sys.argv[1])
teacher = load_teacher(sys.argv[1])
student = models.build("unet(width=2)", num_classes=2, input_shape=(32, 32, 3))
distiller = Distiller(teacher, student)
distiller.compile("sgd")
distiller.fit(tf.ones((2, 32, 32, 3)), tf.zeros((2, 32, 32), tf.int32), verbose=0)
assert isinstance(teacher.model, keras3.Model) and not isinstance(teacher.model, keras.Model)
print(type(teacher).__name__, tf.keras.layers.Dense.__module__.split(".")[0])
"""


@pytest.mark.parametrize(("variable", "package"), [(None, "keras"), ("1", "tf_keras")])
def test_both_keras_work_in_one_process(variable, package, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    if variable is not None:
        environment["TF_USE_LEGACY_KERAS"] = variable
    process = subprocess.run(
        [sys.executable, "-c", TEACHER, str(tmp_path / "teacher.keras")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == f"Keras3Teacher {package}"


def test_unknown_names_are_refused():
    import tfsegkd._keras

    with pytest.raises(AttributeError, match="nonsense"):
        _ = tfsegkd._keras.nonsense
