import numpy as np
import tensorflow as tf
from loss_battery import Case, check_loss, valid_positions

from tfsegkd.losses import MGDLoss


def convolved(features, kernel, bias):
    height, width, _ = features.shape
    out = np.zeros((height, width, len(bias)))
    for y in range(height):
        for x in range(width):
            out[y, x] = bias
            for dy in range(3):
                for dx in range(3):
                    v, u = y + dy - 1, x + dx - 1
                    if 0 <= v < height and 0 <= u < width:
                        out[y, x] += features[v, u] @ kernel[dy, dx]
    return out


def test_battery():
    loss = MGDLoss(mask_ratio=0.0)

    def oracle(teacher, student, labels, valid, image):
        if not valid.any():
            return 0.0
        first, first_bias, second, second_bias = (weight.numpy() for weight in loss.trainable_weights)
        hidden = np.maximum(convolved(student * valid[..., None], first, first_bias), 0)
        made = convolved(hidden, second, second_bias)
        return np.mean([(t - m) ** 2 for t, m in zip(*valid_positions(valid, teacher, made), strict=True)])

    check_loss(loss, oracle, zero_at_equality=False)


def test_the_convolutions_are_trained():
    case, loss = Case(), MGDLoss()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss(case.teacher, case.student))
    gradients = tape.gradient(total, loss.trainable_variables)
    assert len(gradients) == 4 and all(np.any(gradient) for gradient in gradients)


def test_a_hidden_position_has_no_part_in_the_loss():
    case, loss = Case(height=16, width=16), MGDLoss(mask_ratio=0.75)
    student = tf.constant(case.student)
    seen = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            tape.watch(student)
            total = tf.reduce_sum(loss(case.teacher, student))
        seen.append(np.any(tape.gradient(total, student).numpy() != 0, axis=-1))
    assert 0.2 < seen[0].mean() < 0.3
    assert (seen[0] != seen[1]).any(), "drawn anew each call"
