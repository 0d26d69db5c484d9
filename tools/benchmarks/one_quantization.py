"""Makes one int8 file in one way, in a process of its own: a worker of `tfsegkd.runtime.workers`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import models, quantization, runtime
from tfsegkd._keras import keras, tfmot


def in_float(model: keras.Model, images: np.ndarray) -> bytes:
    return runtime.convert(model, "float32", "float32")


def ours(model: keras.Model, images: np.ndarray) -> bytes:
    return runtime.convert(quantization.post_training(model, images))


def plain_tfmot(model: keras.Model, images: np.ndarray) -> bytes:
    """TF-MOT by itself, its ranges observed in training mode, and the converter's short way.

    What quantize_model does, but layers of ours, of which it cannot know, are left as they are: what raises
    is a layer of Keras.
    """
    quantization = tfmot.quantization.keras

    def annotated(layer):
        if isinstance(layer, keras.layers.InputLayer):
            return layer
        ours = type(layer).__module__.startswith("tfsegkd.")
        return quantization.quantize_annotate_layer(layer, LeftAlone() if ours else None)

    with quantization.quantize_scope({"LeftAlone": LeftAlone}):
        aware = quantization.quantize_apply(keras.models.clone_model(model, clone_function=annotated))
    for image in images:
        aware(image[None], training=True)
    return _short_way(aware)


class LeftAlone(tfmot.quantization.keras.QuantizeConfig):
    """Quantizes nothing."""

    def get_weights_and_quantizers(self, layer):
        return []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        pass

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}


def plain_converter(model: keras.Model, images: np.ndarray) -> bytes:
    """The converter's short way, with representative images."""
    return _short_way(model, images)


def _short_way(model: keras.Model, images: np.ndarray | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if images is not None:
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    return converter.convert()


def sixteen_bits(model: keras.Model, images: np.ndarray) -> bytes:
    """Activations of 16 bits and kernels of 8, for which the converter knows floats or int16 at the ends."""
    call = tf.function(lambda image: model(image, training=False))
    signature = call.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    return converter.convert()


WAYS: dict[str, Callable[[keras.Model, np.ndarray], bytes]] = {
    "float": in_float,
    "tfsegkd": ours,
    "TF-MOT": plain_tfmot,
    "converter": plain_converter,
    "converter, 16x8": sixteen_bits,
}


def network(spec: str, num_classes: int, size: tuple[int, int]) -> keras.Model:
    """A saved network at `size`, or a new one of that spec, always with the same weights."""
    if Path(spec).exists():
        return models.at_size(models.load(spec), tuple(size))
    keras.utils.set_random_seed(0)
    return models.build(spec, num_classes, (*size, 3))


def answer(request: dict) -> dict:
    try:
        model = network(request["network"], request["num_classes"], request["size"])
        images = np.load(request["images"]).astype(np.float32)
        Path(request["output"]).write_bytes(WAYS[request["way"]](model, images))
    except Exception as error:  # whatever it is, it belongs in the table
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{type(error).__name__}: {lines[0] if lines else ''}") from error
    return {}
