"""What users write, for mypy: what may be passed and what comes back. Nothing here runs.

A line with `type: ignore` is one that mypy must refuse; it tells when such a line has become right.
"""

from pathlib import Path
from typing import assert_type

import numpy as np

import tfsegkd
from tfsegkd import (
    data,
    distillation,
    evaluation,
    export,
    graph,
    grouping,
    losses,
    models,
    pruning,
    quantization,
    runtime,
)
from tfsegkd.data.source import Source

CALIBRATION = [np.zeros((1, 32, 32, 3), np.float32)]


def read_data() -> None:
    source = data.load("road_scenes", "train", Path("directory"))
    assert_type(source, Source)
    assert_type(len(source), int)
    assert_type(data.names(), list[str])
    assert_type(data.dataset_statistics(source), data.DatasetStatistics)
    data.load("road_scenes", 3)  # type: ignore[arg-type]


def distil() -> None:
    model = models.build("unet", num_classes=11, input_shape=(32, 32, 3))
    term = tfsegkd.Term("pixelwise(temperature=4)", weight=0.5, at=("logits", "logits"))
    assert_type(term, distillation.Term)
    assert_type(losses.get("pixelwise"), losses.DistillationLoss)
    assert_type(losses.names(), list[str])
    assert_type(models.names(), list[str])
    distiller = tfsegkd.Distiller(teacher=model, student=model, terms=[term], task_weight=1.0)
    assert_type(distiller, distillation.Distiller)
    tfsegkd.Distiller(model, model, term)  # type: ignore[arg-type]
    tfsegkd.Term("pixelwise", weight="heavy")  # type: ignore[arg-type]


def shrink() -> None:
    model = models.load("student.keras")
    pruned, report = pruning.prune_channels(model, "macs:0.5", "l1", round_to=8, seed=0)
    assert_type(report, pruning.PruningReport)
    assert_type(report.kept, dict[str, tuple[int, ...]])
    assert_type(graph.cost(pruned), graph.Cost)
    assert_type(graph.cost(pruned).macs, int)
    grouped = grouping.make_gradual(pruned, groups=4)
    grouping.set_alpha(grouped, 0.5)
    assert_type(grouping.alpha(grouped), float)
    quantization.quantize(pruned, calibration=CALIBRATION)
    quantization.quantize(pruned, weight_bits="8")  # type: ignore[arg-type]
    pruning.prune_channels(model, target=0.5)  # type: ignore[arg-type]


def write() -> None:
    model, source = models.load("student_qat.keras"), data.load("road_scenes", "val")
    report = export.export_tflite(model, "model.tflite", overwrite=True)
    assert_type(report, export.ExportReport)
    assert_type(report.file_bytes, int)
    assert_type(runtime.convert(model), bytes)
    assert_type(export.verify("model.tflite", model, source), export.VerifyReport)
    result = evaluation.evaluate("model.tflite", source)
    assert_type(result, evaluation.Evaluation)
    assert_type(result.mean_iou, float)
