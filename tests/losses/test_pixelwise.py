import numpy as np
from loss_battery import Case, check_loss, kl, softmax, valid_positions

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


def test_the_papers_scale_is_a_sum_over_the_images():
    case = Case()
    plain, paper = (
        PixelwiseLoss(paper_scale=scale)(case.teacher, case.student, valid=case.full_valid)
        for scale in (False, True)
    )
    np.testing.assert_allclose(paper, 4 * plain, rtol=1e-6)
