"""Agreement of two networks."""

import numpy as np


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the share of pixels for which two networks predict the same class.

    Args:
        first: The predictions of one network.
        second: The predictions of the other for the same images.

    Returns:
        From 0 to 1.

    Shapes:
        first, second: (N, H, W, C) logits of any type, or (N, H, W) integer classes.

    Raises:
        ValueError: if the shapes do not match, or there is no pixel.
        TypeError: if classes are not integers.

    Example:
        metrics.agreement(np.array([[[0, 1]]]), np.array([[[0, 0]]]))  # 0.5
    """
    first, second = _classes(np.asarray(first)), _classes(np.asarray(second))
    if first.shape != second.shape or not first.size:
        raise ValueError(
            "Two predictions of the same pixels are needed. Received, as (N, H, W): "
            f"{first.shape} and {second.shape}."
        )
    return float(np.mean(first == second))


def _classes(prediction: np.ndarray) -> np.ndarray:
    # By rank, not by type, because the logits of a quantized network are integers, too.
    if prediction.ndim == 4:
        return prediction.argmax(-1)
    if prediction.ndim != 3:
        raise ValueError(
            f"Expected logits (N, H, W, C) or classes (N, H, W). Received: shape {prediction.shape}."
        )
    if not np.issubdtype(prediction.dtype, np.integer):
        raise TypeError(f"Classes of shape (N, H, W) must be integers. Received: {prediction.dtype}.")
    return prediction
