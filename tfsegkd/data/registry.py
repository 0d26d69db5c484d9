"""Where the data sets are filed."""

from tfsegkd.registry import Registry

datasets = Registry("data set")
