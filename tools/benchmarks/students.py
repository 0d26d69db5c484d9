"""What students for phones cost as int8 files: MACs, bytes and Arm instructions, which no machine changes."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.rows import Row
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


def run(students: Sequence[tuple[str, str]] = STUDENTS) -> list[Row]:
    """Exports each network as it is built and counts.

    Args:
        students: The spec and the size of each, as flags have them.

    Returns:
        A row for each student: its spec (`network`) and `input_size`, `parameters` and `macs` of the Keras
        network, `file_bytes` of the int8 file, `float_ops` and `delegate_partitions` as of
        `tfsegkd.export.ExportReport`, and `arm_instructions` an image of that file on one emulated core.

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
            {
                "network": spec,
                "input_size": size,
                "parameters": price.parameters,
                "macs": price.macs,
                "file_bytes": path.stat().st_size,
                "float_ops": len(report.float_ops),
                "delegate_partitions": report.delegate_partitions,
                "arm_instructions": count.instructions,
            }
            for (spec, size), price, path, report, count in zip(
                students, prices, paths, reports, counts, strict=True
            )
        ]


def _noise(size) -> Iterator[np.ndarray]:
    """Counts do not depend on what a network is calibrated with."""
    yield np.random.default_rng(0).uniform(0, 255, (4, *size, 3)).astype(np.float32)
