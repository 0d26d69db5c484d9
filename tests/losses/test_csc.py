import numpy as np
import pytest
from loss_battery import check_loss, valid_positions

from tfsegkd.losses import CSCLoss


def oracle(teacher, student, labels, valid, image):
    teacher, student = (
        [row / np.linalg.norm(row) for row in side] for side in valid_positions(valid, teacher, student)
    )
    channels = len(teacher[0]) if teacher else 0
    total = 0.0
    for shift in range(channels):
        lifted_t, lifted_s = (
            [[row[c] * row[(c - shift) % channels] for c in range(channels)] for row in side]
            for side in (teacher, student)
        )
        for t_i, s_i in zip(lifted_t, lifted_s, strict=True):
            for t_j, s_j in zip(lifted_t, lifted_s, strict=True):
                total += (np.dot(t_i, t_j) - np.dot(s_i, s_j)) ** 2
    return total / max(len(teacher) ** 2 * channels, 1)


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_battery(channels):
    if channels == 1:
        # A unit vector of one channel is ±1: nothing to tell apart.
        ones = np.random.default_rng(0).normal(size=(2, 3, 3, 1)).astype("float32")
        np.testing.assert_allclose(CSCLoss()(ones, -ones), [0, 0], atol=1e-7)
    else:
        check_loss(CSCLoss(), oracle, channels=(channels, channels), size=(2, 4))


def test_it_knows_channels_where_pairwise_does_not():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(1, 4, 4, 5)).astype("float32")
    permuted = teacher[..., [2, 0, 1, 4, 3]]
    assert CSCLoss()(teacher, permuted)[0] > 1e-3
