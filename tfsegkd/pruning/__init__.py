"""Networks made smaller: channels removed by what they cost and what they are worth."""

from tfsegkd.pruning.channels import prune_channels
from tfsegkd.pruning.report import PruningReport

__all__ = ["PruningReport", "prune_channels"]
