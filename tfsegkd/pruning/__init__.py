"""Pruning: removes channels by what they cost and what they are worth."""

from tfsegkd.pruning.channels import prune_channels
from tfsegkd.pruning.cost_complexity import CostComplexityPath, cost_complexity_path
from tfsegkd.pruning.importance import IMPORTANCES
from tfsegkd.pruning.magnitude import (
    KeepZeros,
    SparsityReport,
    UpdatePruningStep,
    sparsify,
    sparsity_report,
    strip,
)
from tfsegkd.pruning.path_search import Point, Removal
from tfsegkd.pruning.regularization import GrowGroupDecay, SlimNorms
from tfsegkd.pruning.report import PruningReport
from tfsegkd.pruning.selection import SCOPES
from tfsegkd.pruning.targets import COSTS, parse_target

__all__ = [
    "COSTS",
    "IMPORTANCES",
    "SCOPES",
    "CostComplexityPath",
    "GrowGroupDecay",
    "KeepZeros",
    "Point",
    "PruningReport",
    "Removal",
    "SlimNorms",
    "SparsityReport",
    "UpdatePruningStep",
    "cost_complexity_path",
    "parse_target",
    "prune_channels",
    "sparsify",
    "sparsity_report",
    "strip",
]
