"""Agreement against plain loops."""

import numpy as np
import pytest

from tfsegkd.metrics import agreement


def test_share_of_equal_classes():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 3, 4, 5)), random.normal(size=(2, 3, 4, 5))
    equal = 0
    for place in np.ndindex(2, 3, 4):
        equal += max(range(5), key=lambda c: first[place][c]) == max(range(5), key=lambda c: second[place][c])
    assert 0 < equal < 24
    assert agreement(first, second) == pytest.approx(equal / 24)
    assert agreement(first.argmax(-1), second) == pytest.approx(equal / 24)
    assert agreement(first, first * 2 + 1) == 1.0


def test_integer_logits_are_logits():
    logits = np.array([[[[-3, 100], [90, 7]]]], np.int8)
    assert agreement(logits, np.array([[[1, 1]]])) == 0.5


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int), ValueError),
        (np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int), ValueError),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), ValueError),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2), int), TypeError),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, error):
    with pytest.raises(error, match="Received"):
        agreement(first, second)
