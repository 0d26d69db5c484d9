"""Post-training quantization."""

from collections.abc import Iterable

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.quantization.equalization import correct_biases, equalize
from tfsegkd.quantization.qat import quantize


@renamed_arguments(representative_data="calibration")
def post_training(
    model: keras.Model,
    calibration: np.ndarray | Iterable[np.ndarray],
    equalized: bool = False,
    corrected: bool = False,
) -> keras.Model:
    """Makes a network int8 by looking at images, without labels and without training.

    It is the network of `quantize` with its ranges measured, so that it is exported, verified and, if need
    be, trained like any other.

    Args:
        model: A float network on raw pixels 0…255, as `quantize` takes it.
        calibration: Images of the kind that it will see: an array, or batches. A few dozen do.
        equalized: Scale channels between convolutions first, as of `equalize`.
        corrected: Take the mean error out of the biases afterwards, as of `correct_biases`.

    Returns:
        A quantization-aware network with observed ranges.

    Shapes:
        calibration: (N, H, W, 3) of the model's input size, raw pixels 0…255.

    Raises:
        TypeError, ValueError: as of `quantize`, for a set that is empty, of another size or of another range
            among others.

    Example:
        quantized = quantization.post_training(student, calibration=images)
    """
    data = calibration
    if isinstance(data, np.ndarray):
        data = [data[start : start + 8] for start in range(0, len(data), 8)]
    batches = list(data)
    quantized = quantize(equalize(model) if equalized else model, calibration=batches)
    return correct_biases(quantized, batches) if corrected else quantized
