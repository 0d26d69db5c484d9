"""Learned step sizes: the quantization steps are trained with the network."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras, tfmot
from tfsegkd.quantization.quantizers import (
    STEP,
    KernelQuantizer,
    Observed,
    by_scale,
    round_kernel,
    round_to_range,
)

_SMALLEST = 1e-7  # a step; zero has no inverse


@tf.custom_gradient
def learned_step(v: tf.Tensor, step: tf.Tensor, low: tf.Tensor, high: tf.Tensor):
    """Rounds `v` to whole multiples, from `low` to `high`, of a step that learns.

    The step's gradient is how far the rounding is off inside the range, and the level itself where `v` is
    cut off; it is scaled by 1/√(N·high) so that steps and weights move in proportion.

    Args:
        low, high: The least and the greatest level.

    Shapes:
        v: (N, S), with a step for each column. step: (S,). returns: (N, S).

    Reference:
        Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, equations 1 to 3 and section 2.2.
    """
    scaled = v / step
    level = tf.round(tf.clip_by_value(scaled, low, high))

    def gradient(upstream):
        inside = tf.cast((scaled > low) & (scaled < high), v.dtype)
        count = tf.cast(tf.shape(v)[0], v.dtype)
        towards_step = upstream * (level - inside * scaled)
        return (
            upstream * inside,
            tf.reduce_sum(towards_step, axis=0) / tf.sqrt(count * high),
            None,
            None,
        )

    return level * step, gradient


def _first_step(magnitude, reach, top):
    """The paper's first step for values of this mean magnitude, unless a smaller one reaches them all.

    Args:
        reach: The step whose greatest level is the farthest value.
    """
    return tf.minimum(2.0 * magnitude / top**0.5, reach)


class _Learned(tfmot.quantization.keras.quantizers.Quantizer):
    """A step kept as a start and a factor, which learns.

    Differs: the paper learns the step itself with SGD. Adam moves every variable by about the learning rate,
        which may be many steps or a tiny part of one; of a factor near 1 it is the same share for all. With
        8 bits the paper's first step is several times the one that reaches all values, too far to be
        unlearnt in a few epochs of fine-tuning; the smaller of the two is taken.
    """

    is_frozen = False

    def _variables(self, layer, name, count):
        def variable(suffix, **options):
            return layer.add_weight(
                name=name + suffix,
                shape=(count,),
                initializer="ones",
                aggregation=tf.VariableAggregation.MEAN,
                **options,
            )

        return {
            "start": variable("_step_start", trainable=False),
            "factor": variable(STEP, constraint=keras.constraints.NonNeg()),
        }

    @staticmethod
    def _step(weights):
        return tf.maximum(weights["start"] * weights["factor"], _SMALLEST)


@keras.utils.register_keras_serializable("tfsegkd")
class LearnedWeightQuantizer(_Learned, KernelQuantizer):
    """Rounds a kernel to multiples of learned steps.

    Args:
        axes: Which part of the kernel has a step of its own, as of `KernelQuantizer`.
        bits: 8, 4 or 2. With 8 the levels are −127…127.
    """

    def __init__(self, axes: str, bits: int = 8):
        super().__init__(axes, bits)
        self._top = 2.0 ** (bits - 1) - 1.0

    def build(self, tensor_shape, name, layer):
        columns = by_scale(tf.zeros(tensor_shape), self.axes).shape[1]
        return self._variables(layer, name, columns)

    def __call__(self, inputs, training, weights, **kwargs):
        step = self._step(weights)
        if not training:
            return round_kernel(inputs, self._top * step, self.axes, bits=self.bits)
        rounded = learned_step(by_scale(inputs, self.axes), step, -self._top, self._top)
        return tf.reshape(rounded, inputs.shape)

    def start(self, weights: dict, kernel: tf.Tensor) -> None:
        """Chooses the first steps for a trained kernel."""
        sizes = tf.abs(by_scale(kernel, self.axes))
        reach = tf.reduce_max(sizes, axis=0) / self._top
        weights["start"].assign(_first_step(tf.reduce_mean(sizes, axis=0), reach, self._top))
        weights["factor"].assign(tf.ones_like(reach))


@keras.utils.register_keras_serializable("tfsegkd")
class LearnedActivationQuantizer(_Learned):
    """Rounds activations to multiples of a learned step.

    Args:
        limits: (low, high) of the values; None for an open end. With a low of 0 no level lies below it.
        bits: 8 or 4.
        members: How many tensors share the step.
    """

    def __init__(
        self, limits: tuple[float | None, float | None] = (None, None), bits: int = 8, members: int = 1
    ):
        self.limits = tuple(limits)
        self.bits = checks.one_of(bits, (4, 8), "bits")
        self.members = int(checks.positive(members, "members"))
        unsigned = self.limits[0] == 0.0
        self._bottom = 0.0 if unsigned else -(2.0 ** (bits - 1))
        self._top = 2.0**bits - 1.0 + self._bottom

    def build(self, tensor_shape, name, layer):
        batches = layer.add_weight(
            name=f"{name}_batches",
            shape=(),
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.MEAN,
        )
        return {**self._variables(layer, name, 1), "batches": batches}

    def __call__(self, inputs, training, weights, **kwargs):
        if not training:
            step = self._step(weights)[0]
            return round_to_range(
                inputs, self._bottom * step, self._top * step, bits=self.bits, training=training
            )
        step = self._step(
            weights if self.is_frozen else {**weights, "start": self._initial_step(inputs, weights)}
        )
        values = tf.reshape(inputs, [-1, 1])
        return tf.reshape(learned_step(values, step, self._bottom, self._top), tf.shape(inputs))

    def _initial_step(self, inputs, weights):
        """The start, which the first batch gives if nothing has been measured before."""
        values = tf.stop_gradient(inputs)

        def first():
            reach = self._reach(tf.reduce_min(values), tf.reduce_max(values))
            return tf.reshape(_first_step(tf.reduce_mean(tf.abs(values)), reach, self._top), [1])

        start = tf.cond(weights["batches"] > 0, weights["start"].read_value, first)
        with tf.control_dependencies([weights["start"].assign(start)]):
            weights["batches"].assign_add(1.0)
        return start

    def _reach(self, low, high):
        """The smallest step that cuts nothing off."""
        above = high / self._top
        return tf.maximum(above, low / self._bottom) if self._bottom else above

    def set_observed(self, weights: dict, measured: list[Observed]) -> None:
        """Sets the variables that `build` made from what was observed of each member."""
        magnitude = max(one.magnitude for one in measured)
        reach = max(float(self._reach(one.low, one.high)) for one in measured)
        weights["start"].assign([_first_step(magnitude, reach, self._top)])
        weights["factor"].assign([1.0])
        weights["batches"].assign(measured[0].batches)

    def get_config(self):
        return {"limits": self.limits, "bits": self.bits, "members": self.members}
