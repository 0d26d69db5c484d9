"""What students for phones cost as int8 files: MACs, bytes and Arm instructions, which no machine changes."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd import graph, models
from tfsegkd.commands import command_line
from tfsegkd.export import export_tflite
from tfsegkd.quantization import quantize
from tfsegkd.runtime import arm

# Their specs as flags have them, and the size of their images.
STUDENTS = (
    ("lite_unet(stages=7)", "192x256"),
    ("lite_unet", "192x256"),
    ("lite_unet(stages=4)", "192x256"),
    ("lite_unet(stages=4,width=24)", "192x256"),
    ("lite_unet", "160x208"),
    ("mobile_unet", "192x256"),
)
NUM_CLASSES = 11


@dataclass(frozen=True)
class Row:
    """One student.

    Args:
        network: Its spec.
        input_size: HEIGHTxWIDTH of its images, as the flag has it.
        parameters, macs: Of the Keras network.
        file_bytes: Of the int8 file.
        float_ops, delegate_partitions: As of `tfsegkd.export.ExportReport`.
        arm_instructions: An image, in the int8 file, on one emulated core.
    """

    network: str
    input_size: str
    parameters: int
    macs: int
    file_bytes: int
    float_ops: int
    delegate_partitions: int
    arm_instructions: int


def run(students: Sequence[tuple[str, str]] = STUDENTS) -> list[Row]:
    """Exports each network as it is built and counts.

    Args:
        students: The spec and the size of each, as flags have them.

    Raises:
        ValueError: for a spec that cannot be built, or a size that cannot be read.
        OSError: if the emulator is missing.
    """
    sizes = [command_line.size(size, "input_size") for _, size in students]
    built = [
        models.build(spec, NUM_CLASSES, (*size, 3)) for (spec, _), size in zip(students, sizes, strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = [Path(directory) / f"{number}.tflite" for number in range(len(built))]
        reports = [
            export_tflite(quantize(model, calibration=_noise(size)), path)
            for model, size, path in zip(built, sizes, paths, strict=True)
        ]
        counts = arm.count_together(paths, ops=False)
        prices = [graph.cost(model) for model in built]
        return [
            Row(
                *student,
                price.parameters,
                macs=price.macs,
                file_bytes=path.stat().st_size,
                float_ops=len(report.float_ops),
                delegate_partitions=report.delegate_partitions,
                arm_instructions=count.instructions,
            )
            for student, price, path, report, count in zip(
                students, prices, paths, reports, counts, strict=True
            )
        ]


def _noise(size) -> Iterator[np.ndarray]:
    """Counts do not depend on what a network is calibrated with."""
    yield np.random.default_rng(0).uniform(0, 255, (4, *size, 3)).astype(np.float32)
