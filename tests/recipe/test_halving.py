"""Rounds of a search: how long each is, who goes on, and that nobody trains more than it must."""

import math

import pytest

from tfsegkd.recipe.halving import Round, halve, rounds, trainings


@pytest.mark.parametrize(
    ("epochs", "candidates", "expected"),
    [
        (60, 4, [(12, 4), (24, 2), (60, 1)]),
        (60, 6, [(12, 6), (24, 3), (60, 1)]),
        (60, 3, [(12, 3), (60, 1)]),
        (60, 1, [(60, 1)]),
        (5, 4, [(1, 4), (2, 2), (5, 1)]),
        (2, 4, [(1, 4), (2, 2)]),
        (1, 4, [(1, 4)]),
    ],
)
def test_rounds(epochs, candidates, expected):
    assert rounds(epochs, candidates) == [Round(*one) for one in expected]


@pytest.mark.parametrize("candidates", [2, 3, 4, 5, 6])
def test_a_search_takes_less_than_three_trainings(candidates):
    assert 1 < trainings(rounds(60, candidates)) <= 2.4


def test_without_halving_all_go_to_the_end():
    assert rounds(60, 8, halving=False) == [Round(12, 8), Round(24, 8), Round(60, 8)]
    assert trainings(rounds(60, 8, halving=False)) == 8


def test_the_better_half_goes_on_and_no_epoch_is_trained_twice():
    trained = dict.fromkeys("abcd", 0)
    asked = []

    def score(name, stop):
        asked.append((name, stop.until))
        trained[name] = stop.until
        # b leads early, c at the end.
        return {"a": 0.1, "b": 0.9 - 0.01 * stop.until, "c": 0.1 + 0.03 * stop.until, "d": 0.2}[name]

    assert halve("abcd", rounds(60, 4), score) == ["c"]
    assert trained == {"a": 12, "b": 24, "c": 60, "d": 12}
    assert len(asked) == len(set(asked)) == 7


def test_of_equal_scores_the_first_goes_on():
    assert halve("abcd", rounds(60, 4), lambda name, stop: 0.5) == ["a"]


def test_what_cannot_be_trained_is_left_out():
    def score(name, stop):
        return None if name in "ab" else 0.5

    assert halve("abcd", rounds(60, 4), score) == ["c"]
    with pytest.raises(FloatingPointError, match=r"No candidate .* epoch 12"):
        halve("abcd", rounds(60, 4), lambda name, stop: None)


def test_all_that_are_trained_to_the_end_come_back_in_order():
    scores = {"a": 0.1, "b": 0.3, "c": 0.2}
    found = halve("abc", rounds(60, 3, halving=False), lambda name, stop: scores[name])
    assert found == ["b", "c", "a"] and math.isclose(trainings(rounds(60, 3, False)), 3)
