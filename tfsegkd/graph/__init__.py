"""A functional model seen as nodes and channels, and what it costs."""

from tfsegkd.graph.channels import ChannelGraph, Counts, Edits, Group
from tfsegkd.graph.cost import Cost, cost
from tfsegkd.graph.nodes import Graph, Node, Tensor, read
from tfsegkd.graph.rebuild import rebuild

__all__ = [
    "ChannelGraph",
    "Cost",
    "Counts",
    "Edits",
    "Graph",
    "Group",
    "Node",
    "Tensor",
    "cost",
    "read",
    "rebuild",
]
