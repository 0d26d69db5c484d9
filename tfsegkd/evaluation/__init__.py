"""Measuring networks against labels, and looking at what they do."""

from tfsegkd.evaluation.evaluate import Evaluation, evaluate, labels_at
from tfsegkd.evaluation.plots import colored, overlay, overlays
from tfsegkd.evaluation.predictor import Predictor

__all__ = ["Evaluation", "Predictor", "colored", "evaluate", "labels_at", "overlay", "overlays"]
