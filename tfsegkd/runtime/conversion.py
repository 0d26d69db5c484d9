"""Conversion of Keras networks to .tflite."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.progress_bar import waited
from tfsegkd.runtime import workers
from tfsegkd.runtime.network import Network

INPUTS = ("uint8", "float32")
OUTPUTS = ("int8", "float32")
# The quantization of an input of raw pixels: value = scale · (pixel - zero_point).
RAW_PIXELS = (1.0, 0)


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether TF-MOT made a network quantization-aware, so that it knows the ranges of its tensors.

    Args:
        model: A Keras network.

    Returns:
        True for a network of `quantize`, trained or not.

    Example:
        runtime.is_quantization_aware(student)  # False
    """
    return any(isinstance(layer, tfmot.quantization.keras.QuantizeWrapper) for layer in model.layers)


@renamed_arguments(representative_data="calibration")
def convert(
    model: keras.Model,
    inputs: str = "uint8",
    outputs: str = "int8",
    quantized: bool | None = None,
    calibration: np.ndarray | Iterable[np.ndarray] | None = None,
    float16: bool = False,
) -> bytes:
    """Converts a network to a .tflite for one image of a fixed size.

    Runs in a subprocess, because each conversion leaks memory.

    Args:
        model: A model with one float32 input (N, H, W, 3) of fixed size, and one output.
        inputs: "uint8", raw pixels of a camera, or "float32", 0…255. A float network takes float32 only.
        outputs: "int8" or "float32". A float network outputs float32 only.
        quantized: Whether the network runs in int8. By default it does if the model is quantization-aware or
            `calibration` is given.
        calibration: Images to calibrate the ranges of tensors without fake quantization: an array or
            an iterable of batches. A quantization-aware model needs none.
        float16: Whether a float network stores its weights in 16 bits, for GPUs.

    Returns:
        The bytes of the .tflite.

    Shapes:
        calibration: (N, H, W, 3), 0…255.

    Raises:
        ValueError: for a model without a fixed size or with an op that TFLite lacks; for contradictory
            options; for a uint8 input that would not be raw pixels.

    Example:
        content = runtime.convert(student, inputs="float32", outputs="float32")
        runtime.profile(content).delegate_partitions  # 1
    """
    checks.one_of(inputs, INPUTS, "inputs")
    checks.one_of(outputs, OUTPUTS, "outputs")
    aware = is_quantization_aware(model)
    quantized = aware or calibration is not None if quantized is None else quantized
    _check_body(model, quantized, aware, has_data=calibration is not None)
    if not quantized and (inputs, outputs) != ("float32", "float32"):
        raise ValueError(
            f"A float network has float32 inputs and outputs. Received: inputs={inputs!r}, "
            f"outputs={outputs!r}. Set both to 'float32', or quantize it with tfsegkd.quantization.quantize "
            f"first."
        )
    if quantized and float16:
        raise ValueError(
            f"float16 is for float networks. Received: {model.name!r}, which becomes int8. Pass the float "
            "network, tfsegkd.quantization.strip(model)."
        )
    shape = _fixed_shape(model)
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        saved_model, output = Path(directory, "saved_model"), Path(directory, "network.tflite")
        _save(model, shape, saved_model)
        request = {
            "saved_model": str(saved_model),
            "output": str(output),
            "quantized": quantized,
            "float16": float16,
            "inputs": inputs,
            "outputs": outputs,
            "calibration": None,
        }
        if calibration is not None:
            images = Path(directory, "images.npy")
            np.save(images, _calibration_images(calibration, shape))
            request["calibration"] = str(images)
        try:
            with waited("conversion to .tflite"):
                workers.run_again("convert_worker.py", request)
        except ValueError as error:
            raise ValueError(f"TFLite cannot convert {model.name!r}: {error}") from None
        content = output.read_bytes()
    if inputs == "uint8":
        _check_raw_pixels(content, model.name)
    return content


def _check_body(model: keras.Model, quantized: bool, aware: bool, has_data: bool) -> None:
    if quantized and not aware and not has_data:
        raise ValueError(
            f"{model.name!r} cannot become int8: the ranges of its tensors are unknown. Make it "
            "quantization-aware with tfsegkd.quantization.quantize, or pass calibration."
        )
    if aware and not quantized:
        raise ValueError(
            f"{model.name!r} is quantization-aware and becomes int8. Received: quantized=False. For a "
            "float file convert the original network."
        )
    if has_data and not quantized:
        raise ValueError(
            "calibration is for int8 networks. Received: quantized=False. Leave one of them out."
        )


def _fixed_shape(model: keras.Model) -> tuple[int, int, int]:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{model.name!r} must have one input and one output. Received: {len(model.inputs)} and "
            f"{len(model.outputs)}."
        )
    shape = tuple(model.input_shape[1:])
    if len(shape) != 3 or None in shape or shape[2] != 3:
        raise ValueError(
            f"{model.name!r} must have an input (N, H, W, 3) of fixed height and width. Received: "
            f"{model.input_shape}. Build the network at its final size."
        )
    return shape


def _save(model: keras.Model, shape: tuple[int, int, int], directory: Path) -> None:
    signature = [tf.TensorSpec((1, *shape), tf.float32, name="image")]
    function = tf.function(lambda image: {"logits": model(image, training=False)}, input_signature=signature)
    # Only the weights: saving a Keras model would also trace each of its layers.
    module = tf.Module()
    module.variables_of_model = list(model.weights)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(directory), function.get_concrete_function(), options)


def _calibration_images(data: np.ndarray | Iterable[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    batches = [data] if isinstance(data, np.ndarray) else [np.asarray(batch) for batch in data]
    if not batches or not sum(len(batch) for batch in batches):
        raise ValueError("calibration must hold at least one image. Received: none.")
    wrong = next((batch.shape for batch in batches if batch.shape[1:] != shape), None)
    if wrong is not None:
        raise ValueError(
            f"calibration must have the shape (N, {', '.join(map(str, shape))}) of the network's "
            f"input. Received: {wrong}. Resize the images."
        )
    images = np.concatenate(batches).astype(np.float32)
    if images.min() < 0 or not 1 < images.max() <= 255:
        raise ValueError(
            f"calibration must be pixels in 0…255. Received: {images.min():g} to {images.max():g}. "
            "Do not normalize the images; the network does."
        )
    return images


def _check_raw_pixels(content: bytes, name: str) -> None:
    found = Network(content).input_quantization
    if found != RAW_PIXELS:
        raise ValueError(
            f"A uint8 input must be the raw pixel: scale 1, zero point 0. The file of {name!r} has scale "
            f"{found[0]:.6g}, zero point {found[1]}, so raw pixels would be misread. Quantize the network "
            "with tfsegkd.quantization.quantize, which fixes the input's range to 0…255, or choose "
            "inputs='float32'."
        )
