"""A functional model seen as nodes and channels, and what it costs."""

from tfsegkd.graph.cost import Cost, cost

__all__ = ["Cost", "cost"]
