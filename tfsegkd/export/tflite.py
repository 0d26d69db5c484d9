"""Export of checked .tflite files with embedded labels."""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfsegkd import checks, runtime
from tfsegkd._keras import keras
from tfsegkd.atomic import write_atomically
from tfsegkd.data.source import DatasetInfo
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.export.lowering import lower_for_arm
from tfsegkd.export.metadata import embed_metadata
from tfsegkd.export.output_variants import without_last_resize
from tfsegkd.graph import check_functional, in_float32
from tfsegkd.grouping import FORMS, MEASURED, LoweringReport, lower
from tfsegkd.quantization import check_observed
from tfsegkd.runtime.model_file import Editor, schema

INT8 = "model_int8.tflite"
# The files for apps: raw pixels in, and float in and out around the same int8 network.
VARIANTS = {
    INT8: {"inputs": "uint8", "outputs": "int8"},
    "model_float_io.tflite": {"inputs": "float32", "outputs": "float32"},
}


def variants(output_stride: int = 1) -> dict[str, dict]:
    """Returns the files for apps: name → options of `export_tflite`.

    Args:
        output_stride: If above 1, includes a file with logits this many times smaller than the image.

    Returns:
        Options by name of the file.

    Example:
        [*export.variants(output_stride=4)][-1]  # 'model_stride4.tflite'
    """
    smaller = {**VARIANTS[INT8], "output_stride": output_stride}
    return VARIANTS if output_stride == 1 else {**VARIANTS, f"model_stride{output_stride}.tflite": smaller}


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """An exported file, with properties read and measured from the file.

    Args:
        path: The file.
        inputs, outputs: The types of input and output.
        float_ops: The float ops, by type and layer; none in a full int8 network.
        delegate_partitions: The number of delegate partitions; one is best.
        file_bytes: The size.
        latency_ms: The median time for one image on this machine, over `latency_runs` runs with
            `num_threads` threads.
        grouped: The forms of grouped convolutions, with the latency of each form.
        lowered: The rewrites of `lower_for_arm`.
        note: A remark, such as that 4-bit kernels are smaller but not faster.

    Example:
        report = export.export_tflite(student, "reported.tflite", "float32", "float32")
        report.file_bytes, report.latency_ms  # of the file, on this machine
    """

    path: str
    inputs: str
    outputs: str
    float_ops: list[str]
    delegate_partitions: int
    file_bytes: int
    latency_ms: float
    latency_runs: int
    num_threads: int
    grouped: LoweringReport
    lowered: tuple[str, ...] = ()
    note: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)


@renamed_arguments(representative_data="calibration")
def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    inputs: str = "uint8",
    outputs: str = "int8",
    calibration: np.ndarray | Iterable[np.ndarray] | None = None,
    metadata: DatasetInfo | None = None,
    allow_float: bool = False,
    overwrite: bool = False,
    num_threads: int = 1,
    grouped: str = "grouped",
    output_stride: int = 1,
) -> ExportReport:
    """Exports a network as a .tflite and returns its properties.

    The file takes one image of the model's input size, and uses the operations with the fewest instructions
    on Arm (`lower_for_arm`). With `metadata`, it contains the class names, and MediaPipe's ImageSegmenter
    accepts it.

    Args:
        model: A quantization-aware network for an int8 file, or a float one for a float file.
        path: The file to write; it appears when it is complete.
        inputs: "uint8" (raw pixels) or "float32" (0…255).
        outputs: "int8" or "float32" logits. float32 input and output around an int8 network are possible.
        calibration: (N, H, W, 3) calibration images for a float network, which is then quantized
            without training.
        metadata: The classes; its `class_names` are written into the file.
        allow_float: Whether an int8 network may have float ops, which cost time.
        overwrite: Whether to replace an existing file.
        num_threads: The number of threads for the latency.
        grouped: The form of grouped convolutions: 'measured', the fastest on this machine, or 'grouped',
            'split' or 'dense'; see `tfsegkd.grouping.lower`.
        output_stride: The stride of the logits. 1 resizes them to the image in the file; with the stride at
            which the network computes them, such as 4, the app resizes them.

    Returns:
        What was written, as read from the file.

    Raises:
        ValueError: if the file exists, the class names do not match the network, the network cannot be
            converted with these options, does not compute its logits at `output_stride`, is quantized but
            not calibrated, or is int8 and has float ops.

    Example:
        report = export.export_tflite(quantized, "model.tflite", metadata=info)
        report.float_ops, report.delegate_partitions  # ([], 1)
    """
    checks.one_of(grouped, (MEASURED, *FORMS), "grouped")
    checks.whole(output_stride, 1, "output_stride")
    check_functional(model, "export_tflite")
    model = in_float32(model)
    path = Path(path)
    _check_path(path, overwrite)
    check_observed(model)
    content = runtime.convert(model, inputs, outputs, calibration=calibration)
    if output_stride != 1:
        content = _at_stride(content, output_stride, model.name)
    content, convolutions = lower(content, grouped, num_threads=num_threads)
    content, lowered = lower_for_arm(content)
    operations = runtime.profile(content)
    int8_body = runtime.is_quantization_aware(model) or calibration is not None
    if int8_body and operations.float_ops and not allow_float:
        raise ValueError(
            f"{model.name!r} would not be full int8. Expected no float op. Received: "
            f"{'; '.join(operations.float_ops)}. Replace these layers by ones that tfsegkd.quantization "
            "covers, or accept their cost with allow_float=True."
        )
    if metadata is not None:
        content = embed_metadata(content, model.name, metadata.class_names)

    def write(unfinished):
        unfinished.write_bytes(content)
        return runtime.latency({"network": unfinished}, num_threads=num_threads)["network"]

    # The file is renamed only after it has run.
    timing = write_atomically(path, write)
    return ExportReport(
        path=str(path),
        inputs=inputs,
        outputs=outputs,
        float_ops=operations.float_ops,
        delegate_partitions=operations.delegate_partitions,
        file_bytes=len(content),
        latency_ms=timing.median_ms,
        latency_runs=timing.runs,
        num_threads=timing.num_threads,
        grouped=convolutions,
        lowered=lowered,
        note=_note(content),
    )


def check_output_stride(model: keras.Model, output_stride: int) -> None:
    """Refuses an `output_stride` that a network's file cannot have, before anything is trained for it.

    Args:
        model: The network, quantized or not.
        output_stride: As of `export_tflite`.

    Raises:
        ValueError: if the network does not enlarge its logits by that factor at its end.
    """
    if output_stride != 1:
        ends = VARIANTS[INT8].values() if runtime.is_quantization_aware(model) else ("float32", "float32")
        _at_stride(runtime.convert(in_float32(model), *ends), output_stride, model.name)


def _at_stride(content: bytes, output_stride: int, name: str) -> bytes:
    found = without_last_resize(content)
    if found is None or found[1] != output_stride:
        own = "no bilinear resize by an integer" if found is None else f"one by {found[1]}"
        raise ValueError(
            f"The logits of {name!r} cannot have `output_stride={output_stride}`: at its end there is "
            f"{own}. Set it to {1 if found is None else f'1 or {found[1]}'}."
        )
    return found[0]


def _note(content: bytes) -> str:
    count = sum(tensor.type == schema.TensorType.INT4 for tensor in Editor(content).tensors)
    if not count:
        return ""
    return f"{count} kernels have 4 bits: size, not speed. They run outside of the delegate, on slower code."


def _check_path(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise ValueError(f"The path must name a file. Received the directory {path}. Add a file name.")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} already exists. Choose another path, or pass overwrite=True.")
