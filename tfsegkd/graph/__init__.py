"""The graph of a functional model: its nodes, its channels, what it costs, and how it is rewritten."""

from tfsegkd.graph.canonical import canonical as canonical
from tfsegkd.graph.channels import ChannelGraph, Group
from tfsegkd.graph.channels import Counts as Counts
from tfsegkd.graph.channels import Edits as Edits
from tfsegkd.graph.cost import Cost, LayerCost, cost, layer_costs
from tfsegkd.graph.layer_spec import Cut, Kernel, LayerChannels, LayerSpec, Scale
from tfsegkd.graph.nodes import Graph, Node, read
from tfsegkd.graph.nodes import Tensor as Tensor
from tfsegkd.graph.nodes import channel_means as channel_means
from tfsegkd.graph.nodes import observe as observe
from tfsegkd.graph.nodes import probe as probe
from tfsegkd.graph.precision import float32_changes as float32_changes
from tfsegkd.graph.precision import in_float32 as in_float32
from tfsegkd.graph.reading import Canonical as Canonical
from tfsegkd.graph.rebuild import rebuild
from tfsegkd.graph.registration import register
from tfsegkd.graph.requirements import check_functional as check_functional
from tfsegkd.graph.requirements import check_images as check_images
from tfsegkd.graph.rewriting import Builder as Builder
from tfsegkd.graph.rewriting import rewrite as rewrite

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "ChannelGraph",
    "Cost",
    "Cut",
    "Graph",
    "Group",
    "Kernel",
    "LayerChannels",
    "LayerCost",
    "LayerSpec",
    "Node",
    "Scale",
    "cost",
    "layer_costs",
    "read",
    "rebuild",
    "register",
]
