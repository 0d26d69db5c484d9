"""Turns a SavedModel into a .tflite, in a process of its own: each conversion leaks some 20 MB.

Run by `workers.run_again`; needs nothing of this package.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf


def convert(request: dict) -> bytes:
    loaded = tf.saved_model.load(request["saved_model"])
    # A concrete function keeps the static size; other ways into the converter make the batch dynamic.
    function = loaded.signatures["serving_default"]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], loaded)
    if request["quantized"]:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(request["inputs"])
        converter.inference_output_type = tf.as_dtype(request["outputs"])
    if request["float16"]:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if request["representative_data"] is not None:
        images = np.load(request["representative_data"], mmap_mode="r")
        converter.representative_dataset = lambda: ([np.array(image[None])] for image in images)
    return converter.convert()


def cause(error: Exception) -> str:
    """The line of a converter's message that says what is wrong: messages run to hundreds of lines."""
    lines = str(error).splitlines() or [type(error).__name__]
    return next((line.split("error: ", 1)[1] for line in lines if "error: " in line), lines[0])


def answer(request: dict) -> dict:
    try:
        Path(request["output"]).write_bytes(convert(request))
    except Exception as error:  # whatever it is, it belongs in the answer
        raise ValueError(cause(error)) from error
    return {}
