"""Runs one network's int8 file on Arm and here: python -m benchmarks.one_arm_agreement REQUEST ANSWER."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.one_network import answer, build, smooth_images
from tfsegkd import quantization, runtime
from tfsegkd.export import lower_for_arm
from tfsegkd.pruning.recalibration import recalibrate
from tfsegkd.runtime import Network, arm


def measure(request: dict, note: Callable[..., None]) -> None:
    """Notes the share of pixels of equal class, and the largest difference of logits in steps of the file."""
    model = build(request["network"], request["num_classes"], (*request["size"], 3))
    images = smooth_images(model.input_shape[1:])
    recalibrate(model, [images])
    content, _ = lower_for_arm(runtime.convert(quantization.quantize(model, calibration=[images])))
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        path = Path(directory, "int8.tflite")
        path.write_bytes(content)
        network = Network(path)
        here, there = network.predict(images), arm.run(path, images)
    note(
        pixels=float((here.argmax(-1) == there.argmax(-1)).mean()),
        max_difference_steps=float(np.abs(here - there).max() / network.output_quantization[0]),
        classes=len(np.unique(here.argmax(-1))),
        images=len(images),
        core=arm.DEFAULT_CORE,
    )


if __name__ == "__main__":
    answer(measure)
