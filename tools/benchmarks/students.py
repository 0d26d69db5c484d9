"""What students for phones cost as int8 files: MACs, bytes and Arm instructions, which no machine changes."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsegkd import graph, models
from tfsegkd.export import export_tflite
from tfsegkd.quantization import quantize
from tfsegkd.runtime import arm

NETWORKS = (
    "lite_unet(stages=7)",
    "lite_unet",
    "lite_unet(stages=4)",
    "lite_unet(stages=4, width=24)",
    "mobile_unet",
)
NUM_CLASSES = 11


@dataclass(frozen=True)
class Row:
    """One student.

    Args:
        network: Its spec.
        input_size: (height, width).
        parameters, macs: Of the Keras network.
        file_bytes: Of the int8 file.
        float_ops, delegate_partitions: As of `tfsegkd.export.ExportReport`.
        arm_instructions: An image, in the int8 file, on one emulated core.
    """

    network: str
    input_size: tuple[int, int]
    parameters: int
    macs: int
    file_bytes: int
    float_ops: int
    delegate_partitions: int
    arm_instructions: int


def run(size: tuple[int, int], networks: Sequence[str] = NETWORKS) -> list[Row]:
    """Exports each network as it is built and counts.

    Raises:
        ValueError: for a spec that cannot be built.
        OSError: if the emulator is missing.
    """
    built = [models.build(spec, NUM_CLASSES, (*size, 3)) for spec in networks]
    with tempfile.TemporaryDirectory(prefix="tfsegkd_") as directory:
        paths = [Path(directory) / f"{number}.tflite" for number in range(len(built))]
        reports = [
            export_tflite(quantize(model, calibration=_noise(size)), path)
            for model, path in zip(built, paths, strict=True)
        ]
        counts = arm.count_together(paths, ops=False)
        prices = [graph.cost(model) for model in built]
        return [
            Row(
                spec,
                size,
                price.parameters,
                macs=price.macs,
                file_bytes=path.stat().st_size,
                float_ops=len(report.float_ops),
                delegate_partitions=report.delegate_partitions,
                arm_instructions=count.instructions,
            )
            for spec, price, path, report, count in zip(networks, prices, paths, reports, counts, strict=True)
        ]


def _noise(size) -> Iterator[np.ndarray]:
    """Counts do not depend on what a network is calibrated with."""
    yield np.random.default_rng(0).uniform(0, 255, (4, *size, 3)).astype(np.float32)
