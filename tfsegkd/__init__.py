"""tfsegkd: knowledge distillation, pruning and quantization of segmentation networks for phones.

import tfsegkd

distiller = tfsegkd.Distiller(teacher, student, terms=[tfsegkd.Term("pixelwise(temperature=4)")])
distiller.compile("adam")
distiller.fit(batches, epochs=10)
quantized = tfsegkd.quantization.quantize(student)
tfsegkd.export.export_tflite(quantized, "model.tflite")
"""

import importlib
import os

# TensorFlow logs details as it is imported. Set the variable to see them.
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
)
from tfsegkd.distillation import Distiller, Term

__version__ = "0.1.0"


def __getattr__(name: str):
    # Whoever only takes a part of the package does not wait for what puts all of it together.
    if name == "recipe":
        return importlib.import_module("tfsegkd.recipe")
    raise AttributeError(f"module 'tfsegkd' has no attribute {name!r}")


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
