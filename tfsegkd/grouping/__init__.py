"""Grouped convolutions: networks that learn them, and how they are deployed."""

from tfsegkd.grouping.assignment import AssignmentReport, assign_channels
from tfsegkd.grouping.dense_form import BlockDiagonal, as_dense
from tfsegkd.grouping.dense_form import written_dense as written_dense
from tfsegkd.grouping.gradual import ChannelOrder, GradualConv2D, alpha, make_gradual, set_alpha
from tfsegkd.grouping.lowering import MEASURED, LoweringReport, lower
from tfsegkd.grouping.regroup import regroup
from tfsegkd.grouping.schedule import SHAPES, GradualGroupingSchedule
from tfsegkd.grouping.tflite_forms import FORMS

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "FORMS",
    "MEASURED",
    "SHAPES",
    "AssignmentReport",
    "BlockDiagonal",
    "ChannelOrder",
    "GradualConv2D",
    "GradualGroupingSchedule",
    "LoweringReport",
    "alpha",
    "as_dense",
    "assign_channels",
    "lower",
    "make_gradual",
    "regroup",
    "set_alpha",
]
