"""`.tflite` files: conversion, execution, profiles and latencies."""

from tfsegkd.runtime import arm
from tfsegkd.runtime.arm import ArmCount
from tfsegkd.runtime.conversion import RAW_PIXELS, convert, is_quantization_aware
from tfsegkd.runtime.device_table import DeviceTable, kind_of_table, read_times
from tfsegkd.runtime.network import Network
from tfsegkd.runtime.op_times import OpTime, op_times
from tfsegkd.runtime.profiling import OpReport, profile
from tfsegkd.runtime.timing import LatencyReport, latency

__all__ = [
    "RAW_PIXELS",
    "ArmCount",
    "DeviceTable",
    "LatencyReport",
    "Network",
    "OpReport",
    "OpTime",
    "arm",
    "convert",
    "is_quantization_aware",
    "kind_of_table",
    "latency",
    "op_times",
    "profile",
    "read_times",
]
