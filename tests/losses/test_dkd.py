import numpy as np
from loss_battery import CLASSES, Case, check_loss, kl, softmax

from tfsegkd.losses import DKDLoss, PixelwiseLoss


def test_battery():
    def oracle(teacher, student, labels, valid, image):
        each = []
        for y, x in np.argwhere((valid > 0) & (labels >= 0)):
            label = labels[y, x]
            p, q = softmax(teacher[y, x], 3), softmax(student[y, x], 3)
            others = [c for c in range(CLASSES) if c != label]
            binary = kl([p[label], 1 - p[label]], [q[label], 1 - q[label]])
            each.append(0.5 * binary + 2 * kl(p[others] / p[others].sum(), q[others] / q[others].sum()))
        return 9 * np.mean(each) if each else 0.0

    check_loss(DKDLoss(alpha=0.5, beta=2.0, temperature=3.0), oracle)


def test_the_parts_add_up_to_the_plain_divergence():
    # KL = KL{true, rest} + (1 − p_T(true))·KL{others}, with the same pixel twice an image.
    case = Case(height=1, width=2, seed=3)
    case.teacher[:, :, 1], case.student[:, :, 1] = case.teacher[:, :, 0], case.student[:, :, 0]
    labels = np.array([0, 1, 2, 3])[:, None, None]
    parts = [
        DKDLoss(alpha=alpha, beta=beta, temperature=1.0)(case.teacher, case.student, labels=labels).numpy()
        for alpha, beta in ((1.0, 0.0), (0.0, 1.0))
    ]
    rest = [1 - softmax(case.teacher[n, 0, 0])[n] for n in range(4)]
    whole = PixelwiseLoss()(case.teacher, case.student)
    np.testing.assert_allclose(parts[0] + rest * parts[1], whole, rtol=1e-4)


def test_a_certain_teacher_gives_no_infinity():
    teacher = np.array([[[[200.0, 0, 0]]]], "float32")
    student = np.array([[[[0, 200.0, 0]]]], "float32")
    loss = DKDLoss(temperature=1.0)(teacher, student, labels=np.zeros((1, 1, 1), int))
    assert np.isfinite(loss).all()
