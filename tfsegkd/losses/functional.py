"""Functions that several losses share; float32 in and out, unless noted otherwise."""

from collections.abc import Callable

import tensorflow as tf

# Used instead of −∞ in a softmax: its exponential is 0, and it causes no NaN.
MINUS_INFINITY = -1e9


def masked_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the weighted mean of `values` over the positions of each image; 0 where all weights are 0.

    Shapes:
        values: (N, H, W). weights: (N, H, W), not negative; 0 where void.
        returns: (N,).
    """
    total = tf.reduce_sum(tf.math.multiply_no_nan(values, weights), [1, 2])
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights, [1, 2]))


def valid_at(valid: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Resizes `valid` to the size of `like`: a position is valid if at least half of its pixels are.

    Shapes:
        valid: (N, Y, X). like: (N, H, W, C).
        returns: (N, H, W), float32 0/1.
    """
    valid = tf.cast(valid, tf.float32)
    if valid.shape[1:].is_fully_defined() and valid.shape[1:] == like.shape[1:3]:
        return valid
    share = area_at(valid[..., None], like)[..., 0]
    # An epsilon below one half: at odd ratios the sum of the pixels' shares is rounded.
    return tf.cast(share >= 0.4999, tf.float32)


def area_at(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Resizes `values` to the size of `like` by area averaging.

    Uses matrix products, because XLA has no kernel for the area method of `tf.image.resize`.

    Shapes:
        values: (N, Y, X, K). like: (N, H, W, C).
        returns: (N, H, W, K).
    """
    rows = _overlap(tf.shape(like)[1], tf.shape(values)[1])
    columns = _overlap(tf.shape(like)[2], tf.shape(values)[2])
    return tf.einsum("wx,nhxk->nhwk", columns, tf.einsum("hy,nyxk->nhxk", rows, values))


def _overlap(positions: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Returns the share of each of `positions` equal parts of a line that each of `pixels` parts covers."""
    ratio = tf.cast(pixels, tf.float32) / tf.cast(positions, tf.float32)
    start = ratio * tf.cast(tf.range(positions), tf.float32)[:, None]
    pixel = tf.cast(tf.range(pixels), tf.float32)
    return tf.nn.relu(tf.minimum(start + ratio, pixel + 1) - tf.maximum(start, pixel)) / ratio


def labels_at(labels: tf.Tensor, like: tf.Tensor, valid: tf.Tensor | None = None) -> tf.Tensor:
    """Resizes `labels` to the size of `like` by nearest neighbor, −1 for void pixels.

    Shapes:
        labels: (N, Y, X). like: (N, H, W, C). valid: (N, Y, X) or None.
        returns: (N, H, W), int32.
    """
    labels = tf.cast(labels, tf.int32)
    if valid is not None:
        labels = tf.where(tf.cast(valid, tf.float32) > 0, labels, -1)
    return tf.image.resize(labels[..., None], tf.shape(like)[1:3], method="nearest")[..., 0]


def labelled(valid: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns the valid positions whose label is a class.

    Shapes:
        valid: (N, H, W), 0/1. labels: (N, H, W).
        returns: (N, H, W), float32 0/1.
    """
    return valid * tf.cast((labels >= 0) & (labels < num_classes), tf.float32)


def positions(features: tf.Tensor) -> tf.Tensor:
    """Flattens the positions of each image.

    Shapes:
        features: (N, H, W, C).
        returns: (N, H·W, C).
    """
    height, width = features.shape[1:3]
    count = -1 if height is None or width is None else height * width
    return tf.reshape(features, [tf.shape(features)[0], count, features.shape[-1]])


def unit(vectors: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """Normalizes vectors to length 1; vectors near zero become 0, without a gradient."""
    square = tf.reduce_sum(tf.square(vectors), axis, keepdims=True)
    long = square > 1e-12
    return tf.where(long, vectors * tf.math.rsqrt(tf.where(long, square, 1.0)), 0.0)


def divergence(log_teacher: tf.Tensor, log_student: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """Returns KL(teacher ‖ student) along `axis`, from log-probabilities."""
    return tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis)


@tf.custom_gradient
def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns −log softmax(logits) of the labels; only the logits get a gradient.

    At image size each pass over the logits takes noticeable time. So exponentials are computed directly, and
    again with the maximum subtracted only where that would lose precision. TensorFlow's own always subtracts.

    Positions with a zero upstream gradient get a zero gradient, whatever their values.

    Shapes:
        labels: (…), int32, 0…C−1. logits: (…, C).
        returns: (…).
    """
    share = tf.exp(logits)
    total = _over_channels(share)
    plain = _are_precise(total)
    target = tf.one_hot(labels, logits.shape[-1])

    def value():
        return tf.math.log(total) - tf.gather(logits, labels, batch_dims=logits.shape.rank - 1)

    def careful_value():
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    def gradient(upstream):
        def pull():
            return share * (upstream / total)[..., None] - target * upstream[..., None]

        def careful_pull():
            return tf.math.multiply_no_nan(tf.nn.softmax(logits) - target, upstream[..., None])

        return None, tf.cond(plain, pull, careful_pull)

    return tf.cond(plain, value, careful_value), gradient


@tf.custom_gradient
def softmax_divergence(teacher: tf.Tensor, student: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns KL(softmax(teacher) ‖ softmax(student)) along the channels; only the student gets a gradient.

    Exponentials are computed as in `cross_entropy`. Positions with a zero upstream gradient get a zero
    gradient, whatever their values.

    Shapes:
        teacher, student: (…, C) logits.
        returns: (…).
    """
    shares = tf.exp(teacher), tf.exp(student)
    sums = [_over_channels(share) for share in shares]
    plain = tf.reduce_all([_are_precise(total) for total in sums])

    def value():
        divergence_of_sums = _over_channels(shares[0] * (teacher - student)) / sums[0]
        return divergence_of_sums + tf.math.log(sums[1]) - tf.math.log(sums[0])

    def careful_value():
        return divergence(tf.nn.log_softmax(teacher), tf.nn.log_softmax(student))

    def gradient(upstream):
        def pull():
            return shares[1] * (upstream / sums[1])[..., None] - shares[0] * (upstream / sums[0])[..., None]

        def careful_pull():
            difference = tf.nn.softmax(student) - tf.nn.softmax(teacher)
            return tf.math.multiply_no_nan(difference, upstream[..., None])

        return None, tf.cond(plain, pull, careful_pull)

    return tf.cond(plain, value, careful_value), gradient


def _are_precise(sums: tf.Tensor) -> tf.Tensor:
    """Returns whether sums of exponentials have neither overflowed nor vanished; False for NaN."""
    return tf.reduce_all((sums > 1e-20) & (sums < 1e20))


def _over_channels(values: tf.Tensor) -> tf.Tensor:
    """Sums along the channels by a matrix product, which takes half the time for few channels."""
    return tf.tensordot(values, tf.ones([values.shape[-1]]), 1)


def standardize(features: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Normalizes each channel of each image to mean 0 and variance 1 over valid positions; 0 at void.

    Shapes:
        features: (N, H, W, C). valid: (N, H, W), 0/1.
    """
    weight = valid[..., None]
    count = tf.reduce_sum(weight, [1, 2], keepdims=True)
    mean = tf.math.divide_no_nan(tf.reduce_sum(features * weight, [1, 2], keepdims=True), count)
    centred = (features - mean) * weight
    variance = tf.math.divide_no_nan(tf.reduce_sum(tf.square(centred), [1, 2], keepdims=True), count)
    # The 1e-6 prevents dead channels, which are rounding noise, from being scaled to variance 1.
    return centred * tf.math.rsqrt(variance + 1e-6)


def gram_distance(teacher: tf.Tensor, student: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the squared distance of two P×P similarity matrices without building them, and its gradient.

    ‖TTᵀ − SSᵀ‖² = ‖TᵀT‖² − 2‖TᵀS‖² + ‖SᵀS‖², Frobenius norms of C×C matrices. The three nearly cancel for
    similar matrices, hence float64, and no clamp, which would hide errors. The products of the gradient use
    float32, as training does: in float64 they took a third of the time.

    Shapes:
        teacher: (P, Ct), float64. student: (P, Cs), float64.
        returns: the distance, (), and its gradient with respect to the student, (P, Cs).
    """
    tt = tf.matmul(teacher, teacher, transpose_a=True)
    ts = tf.matmul(teacher, student, transpose_a=True)
    ss = tf.matmul(student, student, transpose_a=True)
    distance = tf.reduce_sum(tt * tt) - 2 * tf.reduce_sum(ts * ts) + tf.reduce_sum(ss * ss)
    teacher32, student32, ts32, ss32 = (tf.cast(side, tf.float32) for side in (teacher, student, ts, ss))
    slope = 4 * (tf.matmul(student32, ss32) - tf.matmul(teacher32, ts32))
    return distance, tf.cast(slope, student.dtype)


def image_by_image(step: Callable, teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """Runs a float64 `step` with its own gradient over the images of a batch, one after the other.

    So only one image at a time is in float64, and only the float32 gradient is kept for the backward pass.

    Args:
        step: (teacher (P, Ct), student (P, Cs)), float64 → (distance (), gradient (P, Cs)).

    Shapes:
        teacher: (N, P, Ct). student: (N, P, Cs).
        returns: (N,), float64.
    """
    teacher = tf.stop_gradient(teacher)

    @tf.custom_gradient
    def run(student):
        def one(pair):
            distance, gradient = step(*(tf.cast(side, tf.float64) for side in pair))
            return distance, tf.cast(gradient, tf.float32)

        distances, gradients = tf.map_fn(
            one,
            (teacher, student),
            fn_output_signature=(tf.float64, tf.TensorSpec(student.shape[1:], tf.float32)),
            parallel_iterations=1,
        )
        return distances, lambda upstream: tf.cast(upstream, tf.float32)[:, None, None] * gradients

    return run(student)
