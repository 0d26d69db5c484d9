"""The Pareto front of networks."""

from hypothesis import given
from hypothesis import strategies as st

from tfsegkd.evaluation import pareto_front


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12))
def test_the_front_holds_exactly_what_nothing_beats(points):
    def beaten(a, b):
        return b[0] <= a[0] and b[1] >= a[1] and b != a

    places = pareto_front([cost for cost, _ in points], [score for _, score in points])
    found = [points[place] for place in places]
    assert set(found) == {a for a in points if not any(beaten(a, b) for b in points)}
    assert found == sorted(found) and len(set(found)) == len(found)
