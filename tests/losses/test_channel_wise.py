import numpy as np
from loss_battery import check_loss, kl, softmax, valid_positions

from tfsegkd.losses import ChannelWiseLoss


def test_battery():
    def oracle(teacher, student, labels, valid, image):
        if not valid.any():
            return 0.0
        teacher, student = (np.array(side).T for side in valid_positions(valid, teacher, student))
        each = [kl(softmax(t, 4), softmax(s, 4)) for t, s in zip(teacher, student, strict=True)]
        return 16 * np.mean(each)

    check_loss(ChannelWiseLoss(), oracle)


def test_a_constant_added_to_a_channel_does_not_matter():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(1, 6, 6, 3)).astype("float32")
    shifted = teacher + np.array([1.0, 2.0, -3.0])
    assert abs(ChannelWiseLoss()(teacher, shifted)[0]) < 1e-6
