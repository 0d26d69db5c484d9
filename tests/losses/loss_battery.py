"""The battery that every distillation loss passes."""

import numpy as np
import tensorflow as tf

from tfsegkd import losses
from tfsegkd._keras import keras

IGNORE = 255
CLASSES = 4


class Case:
    """Four small images with masks at twice the features' size; the third image is all void.

    `valid` and `labels` at the features' size come from plain loops, independent of the package.
    """

    def __init__(self, teacher_channels=CLASSES, student_channels=CLASSES, height=3, width=5, seed=0):
        random = np.random.default_rng(seed)
        self.teacher = random.normal(size=(4, height, width, teacher_channels)).astype("float32") * 2
        self.student = random.normal(size=(4, height, width, student_channels)).astype("float32") * 2
        self.full_labels = random.integers(0, CLASSES, (4, 2 * height, 2 * width))
        self.full_valid = (random.random((4, 2 * height, 2 * width)) > 0.35).astype("int32")
        self.full_valid[2] = 0
        # Exactly half of the pixels of one position, and a position whose nearest pixel alone is void.
        self.full_valid[0, :2, :2] = [[1, 1], [0, 0]]
        self.full_valid[0, :2, 2:4] = [[1, 1], [1, 0]]
        self.full_valid[0, 2:4, :2] = 0
        # Void pixels bear the ignore label, or a class that must not be believed.
        self.full_labels[(self.full_valid == 0) & (random.random(self.full_valid.shape) < 0.5)] = IGNORE
        self.images = (random.random((4, 2 * height, 2 * width, 3)) * 255).astype("float32")
        self.valid = np.zeros((4, height, width), int)
        self.labels = np.zeros((4, height, width), int)
        for n in range(4):
            for y in range(height):
                for x in range(width):
                    window = self.full_valid[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                    self.valid[n, y, x] = window.sum() >= 2
                    void = not self.full_valid[n, 2 * y + 1, 2 * x + 1]
                    self.labels[n, y, x] = -1 if void else self.full_labels[n, 2 * y + 1, 2 * x + 1]

    def inputs(self, keep=slice(None)):
        return {
            "labels": self.full_labels[keep],
            "valid": self.full_valid[keep],
            "images": self.images[keep],
        }


def check_loss(
    loss,
    oracle,
    *,
    channels=(CLASSES, CLASSES),
    zero_at_equality=True,
    per_example=True,
    size=(3, 5),
    tolerance=2e-5,
):
    """Puts one loss through everything that all of them promise.

    Args:
        loss: The loss, deterministic for the case. Weights it has already are kept for every call.
        oracle: Plain NumPy in float64. Per example: (teacher (H, W, C), student, labels, valid, image) →
            float, labels and valid at the features' size, −1 for a void label; or, with
            `per_example=False`, the same over the batch → (N,).
        channels: Of teacher and student.
        zero_at_equality: Whether the loss is 0 when the student's output is the teacher's.
        per_example: Whether an image's value is independent of the others in its batch.
        size: Height and width of the features.
        tolerance: Relative and absolute, on values.
    """
    case = Case(*channels, *size)
    if not loss.built:
        loss.build(case.teacher.shape)
    weights = loss.get_weights()

    def value(teacher, student, keep=slice(None), **changes):
        loss.set_weights(weights)
        return loss(teacher, student, **{**case.inputs(keep), **changes})

    def expected(student):
        sides = [case.teacher.astype("float64"), student.astype("float64")]
        rest = [case.labels, case.valid, case.images]
        if not per_example:
            return np.asarray(oracle(*sides, *rest))
        return np.array([oracle(*(part[n] for part in sides + rest)) for n in range(4)])

    _matches_the_oracle(loss, case, value, expected, tolerance)
    _gradient_reaches_the_student_only(case, value, expected)
    _void_is_inert(case, value)
    _float16_and_unknown_sizes(loss, case, value, weights)
    _config_round_trip(loss, case, value, weights)
    if per_example:
        for n in range(4):
            keep = slice(n, n + 1)
            alone = value(case.teacher[keep], case.student[keep], keep)
            together = value(case.teacher, case.student)[keep]
            np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    if zero_at_equality:
        same = value(case.teacher, case.teacher)
        np.testing.assert_allclose(same, np.zeros(4), atol=1e-6)


def _matches_the_oracle(loss, case, value, expected, tolerance):
    got = value(case.teacher, case.student)
    assert got.dtype == tf.float32 and got.shape == (4,)
    np.testing.assert_allclose(got, expected(case.student), rtol=tolerance, atol=tolerance, err_msg=loss.name)
    assert got[2] == 0, "an image without a valid pixel gives 0"
    everywhere = value(case.teacher, case.student, valid=np.ones_like(case.full_valid))
    if not loss.needs_labels:
        without = value(case.teacher, case.student, valid=None)
        np.testing.assert_allclose(without, everywhere, rtol=1e-5, atol=1e-6)
        assert not np.allclose(without, got), "the case must be able to tell whether void is masked"


def _gradient_reaches_the_student_only(case, value, expected):
    teacher, student = tf.constant(case.teacher), tf.constant(case.student)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        total = tf.reduce_sum(value(teacher, student))
    to_teacher, to_student = tape.gradient(total, [teacher, student])
    assert to_teacher is None, "the teacher gets no gradient"
    to_student = to_student.numpy()
    assert np.isfinite(to_student).all()
    assert not to_student[2].any(), "an image without a valid pixel gives no gradient"
    assert not to_student[case.valid == 0].any(), "a void position gets no gradient"
    assert to_student.any()
    random = np.random.default_rng(1)
    scale = np.abs(to_student).max()
    for index in random.choice(case.student.size, 10, replace=False):
        direction = np.zeros(case.student.size)
        direction[index] = 1
        _slope_agrees(case, expected, direction.reshape(case.student.shape), to_student, scale)
    for _ in range(3):
        direction = random.normal(size=case.student.shape)
        _slope_agrees(case, expected, direction, to_student, scale * np.abs(direction).sum())


def _slope_agrees(case, expected, direction, gradient, scale):
    step = 1e-5
    there, back = (expected(case.student.astype("float64") + sign * step * direction) for sign in (1, -1))
    slope = (there - back).sum() / (2 * step)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-3, atol=1e-3 * scale)


def _void_is_inert(case, value):
    void = case.valid[..., None] == 0
    before = value(case.teacher, case.student).numpy()
    for junk in (1e3, np.inf, np.nan):
        teacher, student = np.where(void, junk, case.teacher), np.where(void, -junk, case.student)
        student = tf.constant(student, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(student)
            after = value(teacher.astype("float32"), student)
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-7)
        assert np.isfinite(tape.gradient(after, student)).all()
    all_void = value(case.teacher, case.student, valid=np.zeros_like(case.full_valid))
    np.testing.assert_array_equal(all_void, np.zeros(4))


def _float16_and_unknown_sizes(loss, case, value, weights):
    teacher, student = case.teacher.astype("float16"), case.student.astype("float16")
    half = value(teacher, student)
    assert half.dtype == tf.float32
    full = value(teacher.astype("float32"), student.astype("float32"))
    np.testing.assert_allclose(half, full, rtol=1e-5, atol=1e-6)

    extra = case.inputs()

    def gradient(teacher, student, labels, valid, images):
        with tf.GradientTape() as tape:
            tape.watch(student)
            result = loss(teacher, student, labels=labels, valid=valid, images=images)
        return result, tape.gradient(result, student)

    inputs = [case.teacher, case.student, *(tf.constant(part) for part in extra.values())]
    loss.set_weights(weights)
    want = [part.numpy() for part in gradient(*(tf.constant(part) for part in inputs))]
    for unknown in (False, True):
        signature = [
            tf.TensorSpec([None, *([None] * 2 if unknown else part.shape[1:3]), *part.shape[3:]], part.dtype)
            for part in inputs
        ]
        loss.set_weights(weights)
        got = tf.function(gradient, input_signature=signature)(*inputs)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def _config_round_trip(loss, case, value, weights):
    copy = keras.layers.deserialize(keras.layers.serialize(loss))
    assert type(copy) is type(loss) and copy.get_config() == loss.get_config()
    copy(case.teacher, case.student, **case.inputs())
    copy.set_weights(weights)
    got = copy(case.teacher, case.student, **case.inputs())
    np.testing.assert_allclose(got, value(case.teacher, case.student), rtol=1e-6)
    assert losses.get(loss) is loss
    names = [weight.name for weight in loss.weights]
    assert len(set(names)) == len(names), "weights of one name cannot be saved as .h5"


# Plain-loop helpers of the oracles.


def softmax(logits, temperature=1.0):
    exponents = np.exp((logits - logits.max()) / temperature)
    return exponents / exponents.sum()


def kl(p, q):
    p, q = np.asarray(p), np.asarray(q)
    some = p > 0
    return np.sum(p[some] * (np.log(p[some]) - np.log(q[some])))


def valid_positions(valid, *sides):
    """The vectors of the valid positions, in order, of each side."""
    return [[side[y, x] for y, x in np.argwhere(valid > 0)] for side in sides]
