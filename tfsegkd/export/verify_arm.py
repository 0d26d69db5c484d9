"""Verification of a .tflite on an emulated Arm core."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.export.verify import class_logits, of_file
from tfsegkd.runtime import Network, arm


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The agreement of two networks on the same images.

    Args:
        pixels: The share of pixels with the same predicted class; a single channel predicts two.
        by_class: The same for each class that the other network predicts, by class name; None for classes
            that it never predicts.
        max_difference: The largest difference between two logits.
        max_difference_steps: The same in steps of the file's int8 output; None if its output is float.
    """

    pixels: float
    by_class: dict[str, float | None]
    max_difference: float
    max_difference_steps: float | None


@dataclasses.dataclass(frozen=True)
class ArmReport:
    """The result of a file on an emulated Arm core.

    Args:
        core: The core.
        instructions: The count for one image.
        num_images: The number of images.
        here: The agreement with the file on this machine.
        keras: The agreement with the Keras network.

    Example:
        # report = export.verify_on_arm("model_int8.tflite", quantized, frames)
        # report.instructions  # a frame, on report.core
    """

    core: str
    instructions: int
    num_images: int
    here: Agreement
    keras: Agreement

    def __str__(self) -> str:
        lines = [
            f"on an emulated {self.core}: {self.instructions / 1e6:,.2f} M instructions per image (not "
            f"milliseconds)"
        ]
        for name, one in (("the file here", self.here), ("the Keras network", self.keras)):
            steps = one.max_difference_steps
            lines.append(
                f"same class as {name}: {one.pixels:.2%} of the pixels of {self.num_images} images, largest "
                f"difference {one.max_difference:.4g}" + ("" if steps is None else f", {steps:.1f} steps")
            )
            lines += [
                f"  {label:20} {'–' if share is None else f'{share:.2%}'}"
                for label, share in one.by_class.items()
            ]
        return "\n".join(lines)


def verify_on_arm(
    path: str | os.PathLike,
    model: keras.Model,
    images: np.ndarray,
    class_names: Sequence[str] | None = None,
    core: str = arm.DEFAULT_CORE,
) -> ArmReport:
    """Runs a file on an emulated Arm core, and compares it with this machine and with Keras.

    Args:
        path: The .tflite.
        model: The exported network.
        images: The images; each takes some seconds.
        class_names: By label; labels by default.
        core: The core, see `tfsegkd.runtime.arm.count`.

    Returns:
        Instructions, and the agreement with this machine and with Keras.

    Shapes:
        images: (N, H, W, 3), uint8 or float, 0…255.

    Raises:
        ValueError: if the images do not have the network's size, or the file cannot be run.
        OSError: if the emulator or its system is missing; the message says what to install.

    Example:
        # needs Debian's qemu-user and gcc
        # report = export.verify_on_arm("model_int8.tflite", quantized, frames)
    """
    network = Network(path)
    there, here = arm.run(path, images, core), network.predict(images)
    exact = np.asarray(model(np.asarray(images, np.float32), training=False), np.float32)
    names = class_names or [str(label) for label in range(max(network.num_classes, 2))]
    head = models.head_of(model)
    outputs = ((there, of_file(head)), (here, of_file(head)), (exact, head))
    labels = [class_logits(output, kind).argmax(-1) for output, kind in outputs]
    step = network.output_quantization[0] if network.output_quantization else None
    return ArmReport(
        core=core,
        instructions=arm.count(path, ops=False, core=core).instructions,
        num_images=len(images),
        here=_agreement(labels[0] == labels[1], labels[1], np.abs(there - here).max(), names, step),
        keras=_agreement(labels[0] == labels[2], labels[2], np.abs(there - exact).max(), names, step),
    )


def _agreement(
    equal: np.ndarray, chosen: np.ndarray, difference: float, names: Sequence[str], step: float | None
) -> Agreement:
    return Agreement(
        pixels=float(equal.mean()),
        by_class={
            name: float(equal[chosen == label].mean()) if (chosen == label).any() else None
            for label, name in enumerate(names)
        },
        max_difference=float(difference),
        max_difference_steps=float(difference) / step if step else None,
    )
