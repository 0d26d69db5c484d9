"""Measuring networks against labels, and looking at what they do."""

from tfsegkd.evaluation.evaluate import Evaluation, evaluate, labels_at
from tfsegkd.evaluation.predictor import Predictor

__all__ = ["Evaluation", "Predictor", "evaluate", "labels_at"]
