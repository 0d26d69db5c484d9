"""The registry of data sets."""

from tfsegkd.registry import Registry

datasets = Registry("data set")
