import numpy as np
import pytest
from loss_battery import CLASSES, check_loss, softmax

from tfsegkd.losses import ACELoss


@pytest.mark.parametrize("soft", [False, True])
def test_battery(soft):
    def oracle(teacher, student, labels, valid, image):
        each = []
        for y, x in np.argwhere((valid > 0) & (labels >= 0)):
            probabilities, label = softmax(teacher[y, x]), labels[y, x]
            one_hot = np.arange(CLASSES) == label
            if soft:
                weight = probabilities[label]
                target = weight * probabilities + (1 - weight) * one_hot
            else:
                target = probabilities if probabilities.argmax() == label else one_hot
            each.append(-sum(target * np.log(softmax(student[y, x]))))
        return np.mean(each) if each else 0.0

    check_loss(ACELoss(soft=soft), oracle, zero_at_equality=False)


def test_a_wrong_teacher_is_overruled_by_the_label():
    teacher = np.array([[[[9.0, 0, 0]]]], "float32")
    student = np.array([[[[0, 9.0, 0]]]], "float32")
    right, wrong = (ACELoss()(teacher, student, labels=np.full((1, 1, 1), label)) for label in (1, 2))
    assert right[0] < 0.01 and wrong[0] > 8


def test_an_ignore_label_counts_as_void_without_valid():
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype("float32")
    labels = np.array([[[0, 1], [255, 255]]])
    by_label = ACELoss()(logits, -logits, labels=labels)
    by_valid = ACELoss()(logits, -logits, labels=labels, valid=labels < 255)
    np.testing.assert_allclose(by_label, by_valid, rtol=1e-6)
