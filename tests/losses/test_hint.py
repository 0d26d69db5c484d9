import numpy as np
import pytest
from loss_battery import check_loss, valid_positions

from tfsegkd.losses import HintLoss


def standardized(vectors):
    columns = [(column - column.mean()) / np.sqrt(column.var() + 1e-6) for column in np.array(vectors).T]
    return np.array(columns).T


@pytest.mark.parametrize("normalize", [False, True, "both"])
def test_battery(normalize):
    def oracle(teacher, student, labels, valid, image):
        if not valid.any():
            return 0.0
        teacher, student = valid_positions(valid, teacher, student)
        if normalize:
            teacher = standardized(teacher)
        if normalize == "both":
            student = standardized(student)
        return np.mean([(t - s) ** 2 for t, s in zip(teacher, student, strict=True)])

    check_loss(HintLoss(normalize=normalize), oracle, zero_at_equality=normalize is not True)


def test_the_teachers_scale_and_offset_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 2, 6, 6, 3)).astype("float32")
    scaled = teacher * [100.0, 1.0, 0.1] + [5.0, -3.0, 0.0]
    np.testing.assert_allclose(HintLoss()(scaled, student), HintLoss()(teacher, student), rtol=1e-3)


def test_a_dead_channel_is_not_blown_up():
    teacher = np.full((1, 40, 40, 1), 37.3, "float32")
    assert HintLoss()(teacher, np.zeros_like(teacher))[0] < 1e-3
