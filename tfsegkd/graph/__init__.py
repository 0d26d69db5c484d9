"""The graph of a functional model: its nodes, its channels, what it costs, and how it is rewritten."""

from tfsegkd.graph.canonical import canonical
from tfsegkd.graph.channels import ChannelGraph, Counts, Edits, Group
from tfsegkd.graph.cost import Cost, LayerCost, cost, layer_costs
from tfsegkd.graph.layer_spec import Cut, Kernel, LayerChannels, LayerSpec, Scale
from tfsegkd.graph.nodes import Graph, Node, Tensor, observe, probe, read
from tfsegkd.graph.precision import float32_changes, in_float32
from tfsegkd.graph.reading import Canonical
from tfsegkd.graph.rebuild import rebuild
from tfsegkd.graph.registration import register
from tfsegkd.graph.requirements import check_functional, check_images
from tfsegkd.graph.rewriting import Builder, rewrite

__all__ = [
    "Builder",
    "Canonical",
    "ChannelGraph",
    "Cost",
    "Counts",
    "Cut",
    "Edits",
    "Graph",
    "Group",
    "Kernel",
    "LayerChannels",
    "LayerCost",
    "LayerSpec",
    "Node",
    "Scale",
    "Tensor",
    "canonical",
    "check_functional",
    "check_images",
    "cost",
    "float32_changes",
    "in_float32",
    "layer_costs",
    "observe",
    "probe",
    "read",
    "rebuild",
    "register",
    "rewrite",
]
