"""Converts a SavedModel to a .tflite in a subprocess, because each conversion leaks some 20 MB.

Run by `workers.run_again`; does not need this package.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf


def convert(request: dict) -> bytes:
    loaded = tf.saved_model.load(request["saved_model"])
    # A concrete function keeps the static size; other inputs of the converter make the batch dynamic.
    function = loaded.signatures["serving_default"]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], loaded)
    if request["quantized"]:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.as_dtype(request["inputs"])
        converter.inference_output_type = tf.as_dtype(request["outputs"])
    if request["float16"]:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if request["calibration"] is not None:
        images = np.load(request["calibration"], mmap_mode="r")
        converter.representative_dataset = lambda: ([np.array(image[None])] for image in images)
    return converter.convert()


def cause(error: Exception) -> str:
    """Returns the line of a converter's message with the error; messages have hundreds of lines."""
    lines = str(error).splitlines() or [type(error).__name__]
    return next((line.split("error: ", 1)[1] for line in lines if "error: " in line), lines[0])


def answer(request: dict) -> dict:
    try:
        Path(request["output"]).write_bytes(convert(request))
    except Exception as error:  # any error is part of the answer
        raise ValueError(cause(error)) from error
    return {}
