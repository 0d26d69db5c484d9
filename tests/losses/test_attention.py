import numpy as np
from loss_battery import check_loss, valid_positions

from tfsegkd.losses import AttentionLoss


def oracle(teacher, student, labels, valid, image):
    if not valid.any():
        return 0.0
    maps = [np.array([np.mean(row**2) for row in side]) for side in valid_positions(valid, teacher, student)]
    teacher, student = (one / np.sqrt(sum(one**2)) for one in maps)
    return np.mean((teacher - student) ** 2)


def test_battery():
    check_loss(AttentionLoss(), oracle, tolerance=1e-6)
    check_loss(AttentionLoss(), oracle, channels=(6, 3), zero_at_equality=False, tolerance=1e-6)
