import numpy as np
import pytest
import tensorflow as tf
from loss_battery import Case, check_loss, kl, softmax, valid_positions
from scipy import special

from tfsegkd.losses import PixelwiseLoss


def oracle(temperature):
    def mean_divergence(teacher, student, labels, valid, image):
        rows = zip(*valid_positions(valid, teacher, student), strict=True)
        each = [kl(softmax(t, temperature), softmax(s, temperature)) for t, s in rows]
        return temperature**2 * np.mean(each) if each else 0.0

    return mean_divergence


def test_battery():
    check_loss(PixelwiseLoss(), oracle(1.0))
    check_loss(PixelwiseLoss(temperature=4), oracle(4.0))


def balanced_oracle(teacher, student, labels, valid, images):
    classes = teacher.shape[-1]
    positions = [np.argwhere(valid[n]) for n in range(len(valid))]
    count, shown = 0, np.zeros(classes)
    for n, where in enumerate(positions):
        for y, x in where:
            count += 1
            shown += softmax(teacher[n, y, x])
    results = []
    for n, where in enumerate(positions):
        total, weight = 0.0, 0.0
        for y, x in where:
            shares = softmax(teacher[n, y, x])
            rarity = sum(shares[c] / np.log(1.02 + shown[c] / count) for c in range(classes))
            total += rarity * kl(shares, softmax(student[n, y, x]))
            weight += rarity
        results.append(total / weight if weight else 0.0)
    return results


def test_rare_classes_count_more_where_it_is_balanced():
    check_loss(PixelwiseLoss(balanced=True), balanced_oracle, per_example=False)


def test_the_papers_scale_is_a_sum_over_the_images():
    case = Case()
    plain, paper = (
        PixelwiseLoss(paper_scale=scale)(case.teacher, case.student, valid=case.full_valid)
        for scale in (False, True)
    )
    np.testing.assert_allclose(paper, 4 * plain, rtol=1e-6)


@pytest.mark.parametrize("largest", [1, 40, 60, 1e4])
@pytest.mark.parametrize("offset", [0.0, 45.0, -70.0, 1e4])
def test_the_size_of_the_logits_does_not_matter(largest, offset):
    # In float64 and with the maximum subtracted, beside logits whose exponentials float32 cannot hold.
    random = np.random.default_rng(0)
    teacher, student = (random.uniform(-1, 1, (2, 3, 5, 4)) * largest + offset for _ in range(2))
    teacher, student = (np.float32(side) for side in (teacher, student))
    logs = [special.log_softmax(np.float64(side), -1) for side in (teacher, student)]
    want = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean((1, 2))
    slope = (np.exp(logs[1]) - np.exp(logs[0])) / 15
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = PixelwiseLoss()(teacher, student)
    exact = {"rtol": 1e-5, "atol": 1e-6 * max(largest, abs(offset))}
    np.testing.assert_allclose(value, want, **exact)
    np.testing.assert_allclose(tape.gradient(value, student), slope, **exact)


def test_one_position_of_large_logits_does_not_spoil_the_others():
    case = Case()
    plain = PixelwiseLoss()(case.teacher, case.student)
    case.student[0, 0, 0] += 500
    np.testing.assert_allclose(PixelwiseLoss()(case.teacher, case.student), plain, rtol=1e-4)
