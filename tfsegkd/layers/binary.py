"""One logit as the two that every loss, metric and file of two classes knows."""

import tensorflow as tf


def two_logits(logit: tf.Tensor) -> tf.Tensor:
    """The logits −z/2 and z/2, whose softmax is (1 − σ(z), σ(z)).

    Halves, so that both channels have one range in int8; halving is exact, and so is the way back, their
    difference.

    Shapes:
        logit: (…, 1). returns: (…, 2): the background, then the class.
    """
    return tf.concat([-0.5 * logit, 0.5 * logit], -1)
