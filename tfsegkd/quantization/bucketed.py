"""Few levels for the weights, scaled bucket by bucket: uniform ones, and ones whose positions are learned."""

import math

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.quantization.quantizers import FLOAT_BITS, POINTS, KernelQuantizer, WeightQuantizer

STARTS = ("quantiles", "uniform")
_NO_WIDTH = 1e-10  # a bucket narrower than this is all of one value


def in_buckets(kernel: tf.Tensor, axes: str, bucket_size: int | None) -> tf.Tensor:
    """A kernel as (buckets, weights of one): consecutive weights of an output channel, then of the next.

    The last bucket is filled up with the last weight, which changes neither its least nor its greatest.
    """
    weights = tf.reshape(tf.transpose(kernel, _channels_first(kernel.shape.rank, axes)), [-1])
    count = weights.shape[0]
    size = min(bucket_size or count, count)
    filling = tf.repeat(weights[-1:], -count % size)
    return tf.reshape(tf.concat([weights, filling], axis=0), [-1, size])


def out_of_buckets(buckets: tf.Tensor, shape: tf.TensorShape, axes: str) -> tf.Tensor:
    """The kernel of some shape that `in_buckets` has taken apart."""
    order = _channels_first(shape.rank, axes)
    weights = tf.reshape(buckets, [-1])[: shape.num_elements()]
    return tf.transpose(tf.reshape(weights, [shape[axis] for axis in order]), tf.argsort(order))


def _channels_first(rank: int, axes: str) -> list[int]:
    """The order of axes that puts the channels of the output first, those of the input next."""
    last = [rank - 2, rank - 1] if axes == "depthwise" else [rank - 1, rank - 2]
    return [*last, *range(rank - 2)]


def linear_scaling(buckets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Scales each bucket to 0…1.

    Returns:
        The scaled weights, the width of each bucket, and its least weight.

    Shapes:
        buckets: (B, K). returns: (B, K), (B, 1), (B, 1).
    """
    least = tf.reduce_min(buckets, axis=1, keepdims=True)
    width = tf.reduce_max(buckets, axis=1, keepdims=True) - least
    width = tf.where(width > _NO_WIDTH, width, 1.0)
    return (buckets - least) / width, width, least


class _Bucketed(KernelQuantizer):
    """What both kinds of levels have in common: buckets, and the int8 kernel that a file can hold."""

    def __init__(self, axes: str, bits: int = 8, bucket_size: int | None = 256):
        super().__init__(axes, bits)
        self.bucket_size = None if bucket_size is None else int(checks.whole(bucket_size, 2, "bucket_size"))
        self._int8 = WeightQuantizer(axes)

    def __call__(self, inputs, training, weights, **kwargs):
        levels = self.levels(inputs, weights)
        rounded = self._int8(levels, training, {})
        return levels + tf.stop_gradient(rounded - levels) if training else rounded

    def levels(self, kernel: tf.Tensor, weights: dict) -> tf.Tensor:
        """The kernel with each weight at its level, before a file rounds it to int8."""
        raise NotImplementedError

    def size_in_bits(self, shape: tf.TensorShape) -> int:
        """What a kernel takes: a level for each weight, and two floats for each bucket."""
        count = shape.num_elements()
        buckets = math.ceil(count / min(self.bucket_size or count, count))
        return self.bits * count + 2 * FLOAT_BITS * buckets

    def get_config(self):
        return {**super().get_config(), "bucket_size": self.bucket_size}


@keras.utils.register_keras_serializable("tfsegkd")
class UniformWeightQuantizer(_Bucketed):
    """Rounds a kernel to 2^bits equally spaced levels from the least to the greatest weight of each bucket.

    Trained with a term on the teacher's logits this is quantized distillation: the gradient at the rounded
    weights moves the weights behind them.

    Args:
        axes: Which part of the kernel has a scale of its own in the file, as of `KernelQuantizer`.
        bits: 8, 4 or 2.
        bucket_size: How many weights share a range; None for all of a kernel.

    Reference:
        Polino et al., ICLR 2018, https://arxiv.org/abs/1802.05668, sections 2 and 3, and the authors' code.
        Differs: a .tflite holds one range symmetric about zero for each channel and no buckets, so the levels
            are rounded once more, to int8 as the file has it. The first and the last kernel keep 8 bits
            without buckets. Activations, which the paper leaves in float, have 8 bits.
    """

    def levels(self, kernel, weights):
        scaled, width, least = linear_scaling(in_buckets(kernel, self.axes, self.bucket_size))
        top = 2.0**self.bits - 1.0
        rounded = out_of_buckets(tf.round(scaled * top) / top * width + least, kernel.shape, self.axes)
        return kernel + tf.stop_gradient(rounded - kernel)


@keras.utils.register_keras_serializable("tfsegkd")
class LearnedPointsQuantizer(_Bucketed):
    """Takes each weight to the nearest of 2^bits points, which learn; the weights stay as they are.

    This is differentiable quantization. A point's gradient is the sum of the gradients of the weights that
    are taken to it, each times the width of its bucket.

    Args:
        axes, bits, bucket_size: As of `UniformWeightQuantizer`.
        start: Where the points begin: at the 'quantiles' of the scaled weights, or 'uniform' in 0…1.

    Reference:
        Polino et al., ICLR 2018, https://arxiv.org/abs/1802.05668, section 4.
        Differs: as of `UniformWeightQuantizer`; biases and BatchNorm go on learning; all kernels have equally
            many points.
    """

    fixes_kernel = True

    def __init__(self, axes: str, bits: int = 8, bucket_size: int | None = 256, start: str = "quantiles"):
        super().__init__(axes, bits, bucket_size)
        self._start = checks.one_of(start, STARTS, "start")

    def build(self, tensor_shape, name, layer):
        points = layer.add_weight(
            name=name + POINTS,
            shape=(2**self.bits,),
            initializer=lambda shape, dtype: tf.cast(tf.linspace(0.0, 1.0, shape[0]), dtype),
            aggregation=tf.VariableAggregation.MEAN,
        )
        return {"points": points}

    def levels(self, kernel, weights):
        scaled, width, least = linear_scaling(
            in_buckets(tf.stop_gradient(kernel), self.axes, self.bucket_size)
        )
        points = tf.sort(weights["points"])
        between = (points[1:] + points[:-1]) / 2.0
        nearest = tf.reshape(tf.searchsorted(between, tf.reshape(scaled, [-1])), scaled.shape)
        return out_of_buckets(tf.gather(points, nearest) * width + least, kernel.shape, self.axes)

    def start(self, weights: dict, kernel: tf.Tensor) -> None:
        """Chooses the first points for a trained kernel."""
        if self._start == "uniform":
            return
        scaled = linear_scaling(in_buckets(kernel, self.axes, self.bucket_size))[0]
        in_order = tf.sort(tf.reshape(scaled, [-1])[: kernel.shape.num_elements()])
        # Linear between neighbors, so that few weights make many points as well.
        position = tf.linspace(0.0, float(in_order.shape[0] - 1), 2**self.bits)
        before = tf.floor(position)
        low = tf.gather(in_order, tf.cast(before, tf.int32))
        high = tf.gather(in_order, tf.cast(tf.math.ceil(position), tf.int32))
        weights["points"].assign(low + (position - before) * (high - low))

    def size_in_bits(self, shape):
        return super().size_in_bits(shape) + FLOAT_BITS * 2**self.bits

    def get_config(self):
        return {**super().get_config(), "start": self._start}
