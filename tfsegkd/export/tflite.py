"""The last step on the way to a phone: a checked .tflite with its labels inside."""

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
from tfsegkd.export.lowering import lower_for_arm
from tfsegkd.export.metadata import embed_metadata
from tfsegkd.export.output_variants import without_last_resize
from tfsegkd.graph import check_functional, in_float32
from tfsegkd.grouping import FORMS, MEASURED, LoweringReport, lower
from tfsegkd.quantization import check_observed
from tfsegkd.runtime.model_file import Editor, schema

# The files that apps ask for: raw pixels in, and floats in and out around the same int8 body.
VARIANTS = {
    "model_int8.tflite": {"inputs": "uint8", "outputs": "int8"},
    "model_float_io.tflite": {"inputs": "float32", "outputs": "float32"},
}


def variants(output_stride: int = 1) -> dict[str, dict]:
    """The files that apps ask for: name → options of `export_tflite`.

    Args:
        output_stride: Above 1, a file with logits so many times smaller than the image is one of them.
    """
    smaller = {**VARIANTS["model_int8.tflite"], "output_stride": output_stride}
    return VARIANTS if output_stride == 1 else {**VARIANTS, f"model_stride{output_stride}.tflite": smaller}


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, as read and measured from the file itself.

    Args:
        path: Where the file is.
        inputs, outputs: The number formats of its ends.
        float_ops: The ops that compute on floats, by type and layer; none in a true int8 network.
        delegate_partitions: Into how many pieces the delegate cut the network; one is best.
        file_bytes: The file's size.
        latency_ms: The median time for one image on this machine, over `latency_runs` runs with
            `num_threads` threads.
        grouped: How the grouped convolutions run, and how long each would take in which form.
        lowered: What was written in another form for Arm, as of `lower_for_arm`.
        note: What the figures do not tell: that kernels of 4 bits are for size, not for speed.
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


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    inputs: str = "uint8",
    outputs: str = "int8",
    representative_data: np.ndarray | Iterable[np.ndarray] | None = None,
    metadata: DatasetInfo | None = None,
    allow_float: bool = False,
    overwrite: bool = False,
    num_threads: int = 1,
    grouped: str = MEASURED,
    output_stride: int = 1,
) -> ExportReport:
    """Writes a network as a .tflite and reports how it runs.

    The network runs on one image of the model's own size, in the operations that take an Arm core the fewest
    instructions (`lower_for_arm`). With `metadata`, its class names are inside the
    file, and MediaPipe's ImageSegmenter takes it.

    Args:
        model: A quantization-aware network for an int8 file, or a float one for a float file.
        path: Where to write. The file appears when it is complete.
        inputs: "uint8" (raw pixels) or "float32" (0…255).
        outputs: "int8" or "float32" logits. Both ends in float32 around an int8 body are possible.
        representative_data: (N, H, W, 3) images that show the ranges of a float network's tensors, which
            makes it int8 without training.
        metadata: What the labels mean; its `class_names` are written into the file.
        allow_float: Let an int8 network keep ops that compute in float. They cost time.
        overwrite: Replace a file that is there already.
        num_threads: Processor threads for the timing.
        grouped: The form in which grouped convolutions run: 'measured', the fastest on this machine, or
            'grouped', 'split' or 'dense', for another one, as of `tfsegkd.grouping.lower`.
        output_stride: How many times smaller than the image the logits are. 1 enlarges them in the file; with
            the stride at which the network computes them, such as 4, the app does.

    Raises:
        ValueError: if the path is taken, the class names do not fit the network, the network cannot be
            converted as asked, does not compute its logits at `output_stride`, has never seen an image though
            it is quantized, or is int8 and keeps float ops.
    """
    checks.one_of(grouped, (MEASURED, *FORMS), "grouped")
    checks.whole(output_stride, 1, "output_stride")
    check_functional(model, "export_tflite")
    model = in_float32(model)
    path = Path(path)
    _check_path(path, overwrite)
    check_observed(model)
    content = runtime.convert(model, inputs, outputs, representative_data=representative_data)
    if output_stride != 1:
        content = _at_stride(content, output_stride, model.name)
    content, convolutions = lower(content, grouped, num_threads=num_threads)
    content, lowered = lower_for_arm(content)
    operations = runtime.profile(content)
    int8_body = runtime.is_quantization_aware(model) or representative_data is not None
    if int8_body and operations.float_ops and not allow_float:
        raise ValueError(
            f"{model.name!r} would not be int8 throughout. Expected no op that computes in float. Received: "
            f"{'; '.join(operations.float_ops)}. Replace these layers by ones that tfsegkd.quantization "
            "covers, or accept their cost with allow_float=True."
        )
    if metadata is not None:
        content = embed_metadata(content, model.name, metadata.class_names)

    def write(unfinished):
        unfinished.write_bytes(content)
        return runtime.latency({"network": unfinished}, num_threads=num_threads)["network"]

    # The file takes its place only when it has run.
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


def _at_stride(content: bytes, output_stride: int, name: str) -> bytes:
    found = without_last_resize(content)
    if found is None or found[1] != output_stride:
        own = "no bilinear enlargement by a whole number" if found is None else f"one by {found[1]}"
        raise ValueError(
            f"The logits of {name!r} cannot be given at output_stride={output_stride}: at its end there is "
            f"{own}. Set output_stride to {1 if found is None else f'1 or {found[1]}'}."
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
        raise ValueError(f"{path} exists already. Choose another path, or pass overwrite=True.")
