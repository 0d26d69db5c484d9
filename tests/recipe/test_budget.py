"""Budgets: what is read, what is refused, and what a cost exceeds."""

import pytest

from tfsegkd.recipe.budget import Budget, Limit, short


def test_limits_of_several_kinds_are_read():
    budget = Budget.parse("arm:60M, bytes:1.5M,macs:2G")
    assert budget.limits == (Limit("arm", 60e6), Limit("bytes", 1.5e6), Limit("macs", 2e9))
    assert str(budget) == "arm:60M,bytes:1.5M,macs:2G" and Budget.parse(str(budget)) == budget


def test_a_limit_itself_is_kept():
    budget = Budget.parse("bytes:1000,macs:2k")
    assert budget.exceeded({"bytes": 1000, "macs": 2000}) == []
    assert budget.exceeded({"bytes": 1001, "macs": 2000}) == ["bytes"]
    assert budget.exceeded({"bytes": 1001, "macs": 2001}) == ["bytes", "macs"]
    assert budget.share({"bytes": 500, "macs": 1500}) == 0.75


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", r"arm:60M.*''"),
        ("arm", r"'arm'.*kind:number|kind:number.*'arm'"),
        ("flops:60M", r"\['arm', 'bytes', 'macs', 'latency'\].*'flops:60M'"),
        ("byte:1M", r"'byte:1M'.*bytes"),
        ("arm:60Mi", r"'Mi'.*k, M, G"),
        ("arm:60m", r"'m'"),
        ("arm:-1", r"'arm:-1'"),
        ("arm:0", r"arm.*0"),
        ("arm:60M,arm:50M", r"arm:60M, arm:50M"),
        ("arm:60M,", r"''"),
        ("latency:20", r"`budget=latency:20`, `device_table=None`"),
    ],
)
def test_what_is_no_budget_is_refused(text, named):
    with pytest.raises(ValueError, match=named):
        Budget.parse(text)


def test_a_table_without_a_latency_is_refused():
    with pytest.raises(ValueError, match=r"macs:1M.*phone\.csv"):
        Budget.parse("macs:1M", "phone.csv")
    assert Budget.parse("latency:12.5", "phone.csv").limits == (Limit("latency", 12.5),)


@pytest.mark.parametrize(("value", "text"), [(56_524_522, "56.52M"), (999, "999"), (0.5, "0.5"), (2e9, "2G")])
def test_numbers_are_short(value, text):
    assert short(value) == text
