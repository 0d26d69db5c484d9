"""tfsegkd: a large segmentation network in, a small one for the phone out.

import tfsegkd

distiller = tfsegkd.Distiller(teacher, student, terms=[tfsegkd.Term("pixelwise(temperature=4)")])
distiller.compile("adam")
distiller.fit(batches, epochs=10)
quantized = tfsegkd.quantization.quantize(student)
tfsegkd.export.export_tflite(quantized, "model.tflite")
"""

import os

# TensorFlow tells of its own workings as it is imported. Whoever wants to read that says so in the variable.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

from tfsegkd import (
    data,
    distillation,
    evaluation,
    export,
    graph,
    grouping,
    losses,
    metrics,
    models,
    pruning,
    quantization,
    recipe,
)
from tfsegkd.distillation import Distiller, Term

__version__ = "0.1.0"

__all__ = [
    "Distiller",
    "Term",
    "data",
    "distillation",
    "evaluation",
    "export",
    "graph",
    "grouping",
    "losses",
    "metrics",
    "models",
    "pruning",
    "quantization",
    "recipe",
]
