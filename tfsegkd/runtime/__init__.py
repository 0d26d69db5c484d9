"""`.tflite` files: conversion, execution, profiles and latencies."""

from tfsegkd.runtime import arm
from tfsegkd.runtime.arm import ArmCount
from tfsegkd.runtime.conversion import RAW_PIXELS as RAW_PIXELS
from tfsegkd.runtime.conversion import convert, is_quantization_aware
from tfsegkd.runtime.device_table import DeviceTable
from tfsegkd.runtime.device_table import kind_of_table as kind_of_table
from tfsegkd.runtime.device_table import read_times as read_times
from tfsegkd.runtime.network import Network
from tfsegkd.runtime.op_times import OpTime, op_times
from tfsegkd.runtime.profiling import OpReport, profile
from tfsegkd.runtime.timing import LatencyReport, latency

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "ArmCount",
    "DeviceTable",
    "LatencyReport",
    "Network",
    "OpReport",
    "OpTime",
    "arm",
    "convert",
    "is_quantization_aware",
    "latency",
    "op_times",
    "profile",
]
