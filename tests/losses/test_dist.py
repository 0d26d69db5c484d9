import numpy as np
from loss_battery import check_loss, softmax, valid_positions

from tfsegkd.losses import DISTLoss


def pearson(a, b):
    a, b = a - np.mean(a), b - np.mean(b)
    return sum(a * b) / np.sqrt(sum(a * a) * sum(b * b))


def test_battery():
    def oracle(teacher, student, labels, valid, image):
        if not valid.any():
            return 0.0
        teacher, student = (
            np.array([softmax(row, 2) for row in side]) for side in valid_positions(valid, teacher, student)
        )
        between_classes = np.mean([1 - pearson(t, s) for t, s in zip(teacher, student, strict=True)])
        between_pixels = np.mean([1 - pearson(t, s) for t, s in zip(teacher.T, student.T, strict=True)])
        return 4 * (0.5 * between_classes + 3 * between_pixels)

    check_loss(DISTLoss(beta=0.5, gamma=3.0, temperature=2.0), oracle)


def test_a_constant_teacher_teaches_nothing_and_a_constant_student_gives_no_nan():
    random = np.random.default_rng(0)
    varied, constant = random.normal(size=(1, 3, 3, 4)).astype("float32"), np.zeros((1, 3, 3, 4), "float32")
    assert DISTLoss()(constant, varied)[0] == 0
    np.testing.assert_allclose(DISTLoss()(varied, constant), [1.0])
