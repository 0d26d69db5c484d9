"""Splits that are made where there are none."""

import pytest

from tfsegkd.data import splits


@pytest.mark.parametrize("count", [1, 5, 24, 49, 50, 101, 1000])
def test_neighbours_stay_together_and_nothing_is_lost(count):
    train, note = splits.made(range(count), "train")
    val, _ = splits.made(range(count), "val")
    assert sorted(train + val) == splits.made(range(count), "all")[0] == [*range(count)]
    assert abs(len(val) - count / 5) <= max(1, count // 25)
    # A frame of validation has neighbours in training only at the ends of its group.
    length = max(1, count // 25)
    ends = sum(number + 1 in set(train) for number in val)
    assert ends <= -(-len(val) // length)
    assert str(len(val)) in note and str(count) in note


def test_names_are_ordered_as_people_number_them():
    names = ["b1", "frame_10", "frame_9", "frame_009b", "a"]
    assert sorted(names, key=splits.in_order) == ["a", "b1", "frame_9", "frame_009b", "frame_10"]
