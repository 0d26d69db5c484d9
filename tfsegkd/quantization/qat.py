"""Quantization-aware training: a float network that computes as its int8 file will."""

import os
from collections.abc import Iterable

from tfsegkd import models
from tfsegkd._keras import keras, tfmot
from tfsegkd.quantization import placement
from tfsegkd.quantization.calibration import measure
from tfsegkd.quantization.configs import QuantizedLayer
from tfsegkd.quantization.folding import fold_transposed_norms
from tfsegkd.quantization.rewiring import copy
from tfsegkd.quantization.scheme import PREFIX, Scheme


def quantize(model: keras.Model, calibration: Iterable | None = None) -> keras.Model:
    """Makes a network whose weights and activations are rounded to 8 bits, ready to be fine-tuned.

    The new network has the weights of `model`, which stays as it is. Layer 'x' becomes 'quant_x'. The pixels'
    range is 0…255 for good. It can be saved as `.h5` or `.keras`.

    Args:
        model: A float network on raw pixels 0…255: functional, flat, each layer called once.
        calibration: Batches of images (N, H, W, 3) in 0…255 to measure the activations' ranges on. A few
            dozen images of the training set make the network accurate before any fine-tuning. Without them
            every range is a guess until a training step has been made.

    Raises:
        TypeError: if `model` is not a functional Keras model, or a calibration batch not an array.
        ValueError: for a layer that would stay in float, with its name and the cure; for calibration images
            of another shape or range.

    Reference:
        Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877.
        Differs: a range starts as the mean of the first batches instead of a moving average from −6…6.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "_is_graph_network", False):
        raise TypeError(
            f"quantize takes a functional tf_keras model. Received: {type(model).__name__}. Build the "
            f"network with keras.Model(inputs, outputs)."
        )
    if any(isinstance(layer, QuantizedLayer) for layer in model.layers):
        raise ValueError(f"Model {model.name!r} is quantized already. Pass the float network.")
    placement.check_layers(model)
    model = fold_transposed_norms(copy(model))
    # TF-MOT joins the layers that it is given to its own graph, so it gets a copy of its own.
    annotated = tfmot.quantization.keras.quantize_annotate_model(copy(model))
    quantized = tfmot.quantization.keras.quantize_apply(
        annotated, Scheme(), quantized_layer_name_prefix=PREFIX
    )
    quantized = copy(quantized)
    if calibration is not None:
        calibrate(quantized, model, calibration)
    return quantized


def calibrate(quantized: keras.Model, model: keras.Model, batches: Iterable) -> None:
    """Sets the ranges of `quantized` from the activations of its float network `model`."""
    observers = {
        layer.layer.name: layer
        for layer in quantized.layers
        if isinstance(layer, QuantizedLayer) and layer.is_measured
    }
    if not observers:
        return
    ranges, count = measure(model, list(observers), batches)
    for observer, (low, high) in zip(observers.values(), ranges, strict=True):
        observer.set_range(float(low), float(high), count)


def load(path: str | os.PathLike) -> keras.Model:
    """Loads a network that was saved as `.h5` or `.keras`, quantized or not.

    The same as `tfsegkd.models.load`, which knows quantized networks once this package is imported.
    """
    return models.load(path)
