"""Whether a .tflite does what the Keras network does that it was made from."""

import dataclasses
import json
import os
from collections.abc import Iterable

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.runtime import Network


@dataclasses.dataclass(frozen=True)
class VerifyReport:
    """How far a file and its Keras network agree.

    Args:
        int8_agreement: The share of pixels for which both choose the same class.
        max_difference: The largest difference between two logits.
        max_difference_steps: The same in steps of the file's int8 output; None if its output is float.
        num_images: How many images this was found on.
    """

    int8_agreement: float
    max_difference: float
    max_difference_steps: float | None
    num_images: int

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)


def verify(
    path: str | os.PathLike, model: keras.Model, images: np.ndarray | Iterable[np.ndarray]
) -> VerifyReport:
    """Compares a .tflite with the network that it was exported from.

    Kernels may differ by a step or two, so that the share of agreeing pixels is what counts.

    Args:
        path: The .tflite.
        model: The network it was made from: the quantization-aware one for an int8 file.
        images: An array or an iterable of batches.

    Shapes:
        images: (N, H, W, 3), uint8 or float, 0…255.

    Raises:
        ValueError: if there are no images, they have another size, or the two networks do not have the
            same output.
    """
    network = Network(path)
    if tuple(model.output_shape[1:]) != network.output_shape:
        raise ValueError(
            f"{path} and {model.name!r} must give logits of one shape. Received: {network.output_shape} and "
            f"{tuple(model.output_shape[1:])}. Pass the model that the file was exported from."
        )
    agreeing, pixels, num_images, difference = 0, 0, 0, 0.0
    for batch in [images] if isinstance(images, np.ndarray) else images:
        batch = np.asarray(batch)
        if not len(batch):
            continue
        from_file = network.predict(batch)
        from_keras = np.asarray(model(batch.astype(np.float32), training=False), np.float32)
        same = from_file.argmax(-1) == from_keras.argmax(-1)
        agreeing, pixels = agreeing + int(same.sum()), pixels + same.size
        difference = max(difference, float(np.abs(from_file - from_keras).max()))
        num_images += len(batch)
    if not num_images:
        raise ValueError("images must hold at least one image. Received: none.")
    step = network.output_quantization[0] if network.output_quantization else None
    return VerifyReport(
        int8_agreement=agreeing / pixels,
        max_difference=difference,
        max_difference_steps=difference / step if step else None,
        num_images=num_images,
    )
