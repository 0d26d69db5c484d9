"""Quantizers of weights and activations whose ranges are read from the values.

Ranges follow what the int8 kernels of TFLite do: weights symmetric, −127…127; activations with a zero point.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot

AXES = ("channel", "depthwise", "tensor")
BITS = (8, 4, 2)  # of weights
FLOAT_BITS = 32  # what a scale or a level takes in a file
# How the names of variables end that a quantizer learns: factors of steps, and levels.
STEP, POINTS = "_step_factor", "_quantization_points"
LEARNED = (STEP, POINTS)
_UNSEEN = 6.0  # half the range of an activation that nothing has been measured of


@dataclasses.dataclass(frozen=True)
class Observed:
    """What was observed of an activation.

    Args:
        low, high: Means over the batches of its least and its greatest value.
        magnitude: Mean of its absolute values.
        batches: How many batches there were.
    """

    low: float
    high: float
    magnitude: float
    batches: int


class KernelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """The base of quantizers that round kernels.

    Args:
        axes: Which part of the kernel has a scale of its own: 'channel' (the last axis), 'depthwise' (each of
            the last two axes' pairs) or 'tensor'.
        bits: 8, 4 or 2.
    """

    def __init__(self, axes: str, bits: int = 8):
        self.axes = checks.one_of(axes, AXES, "axes")
        self.bits = checks.one_of(bits, BITS, "bits")

    def build(self, tensor_shape, name, layer):
        return {}

    def size_in_bits(self, shape: tf.TensorShape) -> int:
        """What a kernel takes: a level for each weight, and a float for each scale."""
        return self.bits * shape.num_elements() + FLOAT_BITS * _scales(shape, self.axes)

    def get_config(self):
        return {"axes": self.axes, "bits": self.bits}


@keras.utils.register_keras_serializable("tfsegkd")
class WeightQuantizer(KernelQuantizer):
    """Rounds a kernel, its range read from the kernel itself.

    Args:
        axes, bits: As of `KernelQuantizer`.

    Differs: TF-MOT keeps the range of the last training step in variables, which are −6…6 until a first step
        is made, and rounds the whole of a depthwise kernel with one scale.
    """

    def __call__(self, inputs, training, weights, **kwargs):
        # A pruned channel is all zero, and a scale of zero has no inverse.
        limit = tf.maximum(tf.reduce_max(tf.abs(by_scale(inputs, self.axes)), axis=0), 1e-7)
        rounded = round_kernel(inputs, tf.stop_gradient(limit), self.axes, bits=self.bits)
        return inputs + tf.stop_gradient(rounded - inputs) if training and self.bits == 2 else rounded


def by_scale(kernel: tf.Tensor, axes: str) -> tf.Tensor:
    """A kernel as (weights, scales): the weights of one scale in each column."""
    return tf.reshape(kernel, [-1, _scales(kernel.shape, axes)])


def _scales(shape: tf.TensorShape, axes: str) -> int:
    return {"channel": shape[-1], "depthwise": int(np.prod(shape[-2:])), "tensor": 1}[axes]


def round_kernel(kernel: tf.Tensor, limit: tf.Tensor, axes: str, bits: int) -> tf.Tensor:
    """Rounds a kernel to the levels between −limit and limit, in the operations that the converter reads.

    Args:
        limit: One for each scale.
    """
    if bits == 2:
        # TFLite has no kernels of 2 bits, but 8 bits hold the levels −limit, 0 and limit exactly.
        columns = by_scale(kernel, axes)
        kernel = tf.reshape(tf.round(tf.clip_by_value(columns / limit, -1.0, 1.0)) * limit, kernel.shape)
        bits = 8
    options = {"num_bits": bits, "narrow_range": True}
    if axes == "tensor":
        return tf.quantization.fake_quant_with_min_max_vars(kernel, -limit[0], limit[0], **options)
    # The int8 kernel of a depthwise convolution sees its last two axes as one.
    parts = tf.reshape(kernel, [*kernel.shape[:2], -1]) if axes == "depthwise" else kernel
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(parts, -limit, limit, **options)
    return tf.reshape(rounded, kernel.shape) if axes == "depthwise" else rounded


@keras.utils.register_keras_serializable("tfsegkd")
class ActivationQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds activations within a moving average of the extremes of each batch.

    The first batches count equally, so that a short training does not drag the initial range along.

    Args:
        limits: (low, high) which the range never exceeds; None leaves an end open.
        bits: 8 or 4.
        members: How many tensors share the range, which covers the averages of them all.
        decay: What remains of the average after a step, once 1 / (1 − decay) batches have been seen.
    """

    def __init__(
        self,
        limits: tuple[float | None, float | None] = (None, None),
        bits: int = 8,
        members: int = 1,
        decay: float = 0.99,
    ):
        self.limits = tuple(limits)
        self.bits = checks.one_of(bits, (4, 8), "bits")
        self.members = int(checks.positive(members, "members"))
        self.decay = checks.in_range(decay, 0.0, 1.0, what="decay")
        self.is_frozen = False

    def build(self, tensor_shape, name, layer):
        def variable(what, value):
            return layer.add_weight(
                name=f"{name}_{what}",
                shape=(self.members,),
                initializer=keras.initializers.Constant(value),
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )

        low, high = self._within(-_UNSEEN, _UNSEEN)
        return {
            "min_var": variable("min", float(low)),
            "max_var": variable("max", float(high)),
            "batches": variable("batches", 0.0),
        }

    def __call__(self, inputs, training, weights, member=0, **kwargs):
        low, high, batches = weights["min_var"], weights["max_var"], weights["batches"]
        if not training or self.is_frozen:
            return round_to_range(inputs, *_union(low, high), self.bits, training)
        kept = tf.minimum(batches[member] / (batches[member] + 1.0), self.decay)
        batch_low, batch_high = self._within(tf.reduce_min(inputs), tf.reduce_max(inputs))
        new_low = tf.stop_gradient(kept * low[member] + (1.0 - kept) * batch_low)
        new_high = tf.stop_gradient(kept * high[member] + (1.0 - kept) * batch_high)
        at = tf.one_hot(member, self.members)
        lows, highs = at * new_low + (1.0 - at) * low, at * new_high + (1.0 - at) * high
        with tf.control_dependencies([low.assign(lows), high.assign(highs)]):
            batches.assign_add(at)
        return round_to_range(inputs, *_union(lows, highs), self.bits, training)

    def set_observed(self, weights: dict, measured: list[Observed]) -> None:
        """Sets the variables that `build` made from what was observed of each member."""
        ends = [self._within(one.low, one.high) for one in measured]
        weights["min_var"].assign([low for low, _ in ends])
        weights["max_var"].assign([high for _, high in ends])
        weights["batches"].assign([one.batches for one in measured])

    def _within(self, low, high):
        # 0 must lie in the range: it is what 'same' padding is made of.
        lowest, highest = self.limits
        low = tf.minimum(low, 0.0) if lowest is None else tf.clip_by_value(low, lowest, 0.0)
        high = tf.maximum(high, 0.0) if highest is None else tf.clip_by_value(high, 0.0, highest)
        return low, high

    def get_config(self):
        names = ("limits", "bits", "members", "decay")
        return {name: getattr(self, name) for name in names}


def _union(lows, highs):
    low, high = tf.reduce_min(lows), tf.reduce_max(highs)
    # Where all is zero, as after a branch that was pruned, any range serves, and one of width 0 does not.
    return low, tf.where(high > low, high, 1.0)


def round_to_range(x: tf.Tensor, low, high, bits: int, training: bool) -> tf.Tensor:
    """Rounds to the levels of a range, of which one is 0."""
    if bits == 8 or training:
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=bits)
    # TFLite has no such tensors. Its converter would read the operation above as one of 8 bits; these
    # stay in float, where everybody sees them.
    top = 2.0**bits - 1.0
    step = (high - low) / top
    zero = tf.clip_by_value(tf.round(-low / step), 0.0, top)
    return (tf.clip_by_value(tf.round(x / step + zero), 0.0, top) - zero) * step


@keras.utils.register_keras_serializable("tfsegkd")
class FixedQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds an activation to 8 bits within a range that is known beforehand.

    Args:
        low, high: The range; 0 must lie in it.
    """

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

    def get_config(self):
        return {"low": self.low, "high": self.high}
