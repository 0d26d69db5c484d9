"""Pruning: removes channels by what they cost and what they are worth."""

from tfsegkd.pruning.channels import prune_channels
from tfsegkd.pruning.cost_complexity import COST_COMPLEXITY, CostComplexityPath, cost_complexity_path
from tfsegkd.pruning.importance import IMPORTANCES
from tfsegkd.pruning.magnitude import (
    KeepZeros,
    SparsityReport,
    UpdatePruningStep,
    sparsify,
    sparsity_report,
    strip,
)
from tfsegkd.pruning.path_search import Point
from tfsegkd.pruning.path_search import Removal as Removal
from tfsegkd.pruning.regularization import GrowGroupDecay, SlimNorms
from tfsegkd.pruning.report import PruningReport
from tfsegkd.pruning.selection import SCOPES
from tfsegkd.pruning.targets import COSTS
from tfsegkd.pruning.targets import parse_target as parse_target

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "COSTS",
    "COST_COMPLEXITY",
    "IMPORTANCES",
    "SCOPES",
    "CostComplexityPath",
    "GrowGroupDecay",
    "KeepZeros",
    "Point",
    "PruningReport",
    "SlimNorms",
    "SparsityReport",
    "UpdatePruningStep",
    "cost_complexity_path",
    "prune_channels",
    "sparsify",
    "sparsity_report",
    "strip",
]
