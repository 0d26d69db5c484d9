import numpy as np
from loss_battery import check_loss, valid_positions

from tfsegkd.losses import PairwiseLoss


def oracle(teacher, student, labels, valid, image):
    teacher, student = (
        [row / np.linalg.norm(row) for row in side] for side in valid_positions(valid, teacher, student)
    )
    total = 0.0
    for t_i, s_i in zip(teacher, student, strict=True):
        for t_j, s_j in zip(teacher, student, strict=True):
            total += (t_i @ t_j - s_i @ s_j) ** 2
    return total / max(len(teacher), 1) ** 2


def pooled(side, valid):
    """2×2 means over the valid positions of each window, and which windows are at least half valid."""
    height, width = -(-side.shape[0] // 2), -(-side.shape[1] // 2)
    means, kept = np.zeros((height, width, side.shape[2])), np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            window = np.s_[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            good = valid[window] > 0
            kept[y, x] = good.sum() * 2 >= good.size
            if good.any():
                means[y, x] = side[window][good].mean(0)
    return means, kept


def test_battery():
    check_loss(PairwiseLoss(), oracle)


def test_battery_with_channels_that_differ():
    check_loss(PairwiseLoss(), oracle, channels=(6, 3), zero_at_equality=False)


def test_battery_with_pooling():
    def after_pooling(teacher, student, labels, valid, image):
        (teacher, kept), (student, _) = pooled(teacher, valid), pooled(student, valid)
        return oracle(teacher, student, labels, kept, image)

    check_loss(PairwiseLoss(pool=2), after_pooling)


def test_nearly_equal_features_keep_their_digits():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(1, 40, 50, 32)).astype("float32")
    student = (teacher + 0.01 * random.normal(size=teacher.shape)).astype("float32")
    rows_t, rows_s = (side[0].reshape(-1, 32).astype("float64") for side in (teacher, student))
    rows_t, rows_s = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (rows_t, rows_s))
    direct = np.mean((rows_t @ rows_t.T - rows_s @ rows_s.T) ** 2)
    np.testing.assert_allclose(PairwiseLoss()(teacher, student), [direct], rtol=1e-4)
