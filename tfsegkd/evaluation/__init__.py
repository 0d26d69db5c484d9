"""Evaluation of networks on labelled images, and plots of their predictions."""

from tfsegkd.evaluation.contact_sheet import contact_sheet
from tfsegkd.evaluation.evaluate import Evaluation, evaluate
from tfsegkd.evaluation.evaluate import evaluate_members as evaluate_members
from tfsegkd.evaluation.pareto_front import pareto_front as pareto_front
from tfsegkd.evaluation.plots import colored, overlay, overlays
from tfsegkd.evaluation.predictor import Predictor
from tfsegkd.evaluation.segment import class_shares, segment, write_mask, write_shares

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "Evaluation",
    "Predictor",
    "class_shares",
    "colored",
    "contact_sheet",
    "evaluate",
    "overlay",
    "overlays",
    "segment",
    "write_mask",
    "write_shares",
]
