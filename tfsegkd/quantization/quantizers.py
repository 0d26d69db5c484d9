"""How a weight or an activation is rounded to 8 bits while the network trains.

Ranges follow what the int8 kernels of TFLite do: weights symmetric, −127…127; activations with a zero point.
"""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot

_UNSEEN = 6.0  # half the range of an activation that nothing has been measured of


@keras.utils.register_keras_serializable("tfsegkd")
class WeightQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel to 8 bits, its range read from the kernel itself.

    Args:
        axes: Which part of the kernel has a scale of its own: 'channel' (the last axis), 'depthwise' (each of
            the last two axes' pairs) or 'tensor'.

    Differs: TF-MOT keeps the range of the last training step in variables, which are −6…6 until a first step
        is made, and rounds the whole of a depthwise kernel with one scale.
    """

    def __init__(self, axes: str):
        self.axes = checks.one_of(axes, ("channel", "depthwise", "tensor"), "axes")

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        if self.axes == "tensor":
            limit = _limit(inputs, axis=None)
            return tf.quantization.fake_quant_with_min_max_vars(
                inputs, -limit, limit, num_bits=8, narrow_range=True
            )
        shape = inputs.shape
        if self.axes == "depthwise":
            # The int8 kernel of a depthwise convolution sees its last two axes as one.
            inputs = tf.reshape(inputs, [*shape[:2], shape[2] * shape[3]])
        limit = _limit(inputs, axis=list(range(len(inputs.shape) - 1)))
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            inputs, -limit, limit, num_bits=8, narrow_range=True
        )
        return tf.reshape(rounded, shape) if self.axes == "depthwise" else rounded

    def get_config(self):
        return {"axes": self.axes}


def _limit(kernel, axis):
    # A pruned channel is all zero, and a scale of zero has no inverse.
    return tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(kernel), axis=axis), 1e-7))


@keras.utils.register_keras_serializable("tfsegkd")
class ActivationQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds an activation to 8 bits within a moving average of the extremes of each batch.

    The first batches count equally, so that a short training does not drag the initial range along.

    Args:
        limits: (low, high) which the range never exceeds; None leaves an end open.
        decay: What remains of the average after a step, once 1 / (1 − decay) batches have been seen.
    """

    def __init__(self, limits: tuple[float | None, float | None] = (None, None), decay: float = 0.99):
        self.limits = limits
        self.decay = checks.in_range(decay, 0.0, 1.0, "decay")

    def build(self, tensor_shape, name, layer):
        def variable(what, value):
            return layer.add_weight(
                name=f"{name}_{what}",
                initializer=keras.initializers.Constant(value),
                trainable=False,
                aggregation=tf.VariableAggregation.MEAN,
            )

        low, high = self._within(-_UNSEEN, _UNSEEN)
        return {
            "min_var": variable("min", low),
            "max_var": variable("max", high),
            "batches": variable("batches", 0.0),
        }

    def __call__(self, inputs, training, weights, **kwargs):
        low, high, batches = weights["min_var"], weights["max_var"], weights["batches"]
        if not training:
            return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)
        kept = tf.minimum(batches / (batches + 1.0), self.decay)
        batch_low, batch_high = self._within(tf.reduce_min(inputs), tf.reduce_max(inputs))
        new_low = tf.stop_gradient(kept * low + (1.0 - kept) * batch_low)
        new_high = tf.stop_gradient(kept * high + (1.0 - kept) * batch_high)
        with tf.control_dependencies([low.assign(new_low), high.assign(new_high)]):
            batches.assign_add(1.0)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, new_low, new_high, num_bits=8)

    def set_range(self, weights: dict, low: float, high: float, batches: int) -> None:
        """Sets the variables that `build` made, as if `batches` batches had been seen."""
        low, high = self._within(low, high)
        weights["min_var"].assign(low)
        weights["max_var"].assign(high)
        weights["batches"].assign(batches)

    def _within(self, low, high):
        # 0 must lie in the range: it is what 'same' padding is made of.
        lowest, highest = self.limits
        low = tf.minimum(low, 0.0) if lowest is None else tf.clip_by_value(low, lowest, 0.0)
        high = tf.maximum(high, 0.0) if highest is None else tf.clip_by_value(high, 0.0, highest)
        return low, high

    def get_config(self):
        return {"limits": self.limits, "decay": self.decay}


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
