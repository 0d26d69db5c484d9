import numpy as np
import pytest
import tensorflow as tf
from loss_battery import Case, check_loss

from tfsegkd._keras import keras
from tfsegkd.losses import HolisticLoss


def convolved(features, kernel, bias, stride):
    height, width, channels = features.shape
    rows, columns = -(-height // stride), -(-width // stride)
    top, left = (
        max((out - 1) * stride + 4 - size, 0) // 2 for out, size in ((rows, height), (columns, width))
    )
    padded = np.zeros((height + 8, width + 8, channels))
    padded[top : top + height, left : left + width] = features
    made = np.zeros((rows, columns, len(bias)))
    for y in range(rows):
        for x in range(columns):
            window = padded[y * stride : y * stride + 4, x * stride : x * stride + 4]
            made[y, x] = bias + np.tensordot(window, kernel, 3)
    return made


def attended(features, layer):
    rows = features.reshape(-1, features.shape[-1])
    query, key, value = (
        rows @ part.kernel.numpy() + part.bias.numpy() for part in (layer.query, layer.key, layer.value)
    )
    looks = np.exp(query @ key.T)
    looks /= looks.sum(1, keepdims=True)
    return features + float(layer.scale) * (looks @ value).reshape(features.shape)


def score(critic, prediction, image):
    """The critic's score of one image, in NumPy, the singular value by one power iteration."""
    height, width, _ = prediction.shape
    small = np.array(
        [
            [image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)) for x in range(width)]
            for y in range(height)
        ]
    )
    features = np.concatenate([prediction, small / 127.5 - 1], -1)
    for level, layer in enumerate(critic.convolutions):
        kernel = layer.kernel.numpy().astype("float64")
        matrix, start = kernel.reshape(-1, kernel.shape[-1]), layer.left.numpy()
        right = matrix @ start / np.linalg.norm(matrix @ start)
        left = matrix.T @ right / np.linalg.norm(matrix.T @ right)
        features = convolved(features, kernel / (right @ matrix @ left), layer.bias.numpy(), 2)
        features = np.where(features > 0, features, 0.1 * features)
        if level >= 2:
            features = attended(features, critic.attention[level - 2])
    head = critic.head
    return convolved(features, head.kernel.numpy(), head.bias.numpy(), 1).mean()


def small_loss(case, **options):
    keras.utils.set_random_seed(0)
    loss = HolisticLoss(width=2, **options)
    loss.build(case.teacher.shape)
    random = np.random.default_rng(0)
    # Attention begins at scale 0 and biases at 0: make every part of the critic count.
    for weight in loss.critic.weights:
        weight.assign_add(0.3 * random.normal(size=weight.shape))
    return loss


def test_battery():
    loss = small_loss(Case())

    def oracle(teacher, student, labels, valid, image):
        return -score(loss.critic, student * valid[..., None], image) if valid.any() else 0.0

    check_loss(loss, oracle, zero_at_equality=False, size=(18, 21))


def test_the_critics_loss_is_its_gap_between_student_and_teacher():
    case = Case(height=8, width=8)
    loss = small_loss(case, penalty=1e-9)
    counts = [n for n in range(4) if case.valid[n].any()]
    gap = [
        score(loss.critic, case.student[n] * case.valid[n][..., None], case.images[n])
        - score(loss.critic, case.teacher[n] * case.valid[n][..., None], case.images[n])
        for n in counts
    ]
    got = loss.critic_loss(case.teacher, case.student, **case.inputs())
    np.testing.assert_allclose(got, np.mean(gap), rtol=1e-4, atol=1e-6)


def test_the_gradient_penalty_by_finite_differences():
    # Teacher and student alike: the gap is 0 and every point between them is the teacher's output.
    case = Case(height=4, width=4)
    loss = small_loss(case, penalty=10.0)
    penalties = []
    for n in range(4):
        slope = np.zeros(case.teacher[n].shape)
        for index in np.ndindex(slope.shape):
            step = np.zeros(slope.shape)
            step[index] = 1e-5
            there, back = (
                score(loss.critic, case.teacher[n].astype("float64") + sign * step, case.images[n])
                for sign in (1, -1)
            )
            slope[index] = (there - back) / 2e-5
        penalties.append(10 * (np.linalg.norm(slope) - 1) ** 2)
    got = loss.critic_loss(case.teacher, case.teacher, images=case.images)
    np.testing.assert_allclose(got, np.mean(penalties), rtol=1e-3)


def test_two_optimizers_train_two_sets_of_variables():
    case = Case(height=20, width=20)
    loss = small_loss(case)
    assert loss.trainable_variables == []
    assert len(loss.critic.trainable_variables) == 24 and len(loss.weights) == 29
    teacher, student = tf.constant(case.teacher), tf.constant(case.student)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([teacher, student])
        scalar = loss.critic_loss(teacher, student, **case.inputs())
    assert tape.gradient(scalar, [teacher, student]) == [None, None]
    gradients = tape.gradient(scalar, loss.critic.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    largest = max(np.abs(gradient).max() for gradient in gradients)
    still = [
        variable.name
        for variable, gradient in zip(loss.critic.trainable_variables, gradients, strict=True)
        if not np.abs(gradient).max() > 1e-6 * largest  # what is 0 but for rounding
    ]
    # A constant added to all keys changes no softmax, and one added in front of the mean, or in front of
    # the linear head, changes no gap and no slope.
    assert sorted(name.split("critic/")[-1] for name in still) == [
        "attention_3/key/bias:0",
        "attention_4/key/bias:0",
        "attention_4/value/bias:0",
        "head/bias:0",
    ]


def test_a_few_steps_teach_the_critic_to_tell_them_apart():
    case = Case(height=8, width=8)
    loss, optimizer = HolisticLoss(width=4), keras.optimizers.Adam(0.01)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            scalar = loss.critic_loss(case.teacher, case.student + 3, images=case.images)
        variables = loss.critic.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(scalar, variables), variables, strict=True))
        return scalar

    loss.build(case.teacher.shape)
    values = [float(step()) for _ in range(30)]
    assert values[-1] < values[0] - 0.5
    for layer in loss.critic.convolutions:
        kernel = layer.kernel.numpy().reshape(-1, layer.filters)
        right = kernel @ layer.left.numpy()
        assert np.linalg.norm(right) == pytest.approx(np.linalg.norm(kernel, 2), rel=0.1)


@pytest.mark.parametrize("changes", [{}, {"valid": np.zeros((4, 16, 16), int)}])
def test_an_indifferent_critic_equal_outputs_and_void_images_give_the_critic_finite_gradients(changes):
    case = Case(height=8, width=8)
    loss = HolisticLoss(width=2)
    loss.build(case.teacher.shape)
    # A critic that gives everything the same score has a slope of length 0, where a root has no gradient.
    loss.critic.head.kernel.assign(tf.zeros_like(loss.critic.head.kernel))
    with tf.GradientTape() as tape:
        scalar = loss.critic_loss(case.teacher, case.teacher, images=case.images, **changes)
    gradients = tape.gradient(scalar, loss.critic.trainable_variables)
    assert np.isfinite(scalar) and all(np.isfinite(gradient).all() for gradient in gradients)
