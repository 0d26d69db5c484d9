"""Registries build from specs and list the choices when they cannot."""

import pytest

from tfsegkd.registry import Registry
from tfsegkd.spec import Spec


@pytest.fixture
def fruit():
    registry = Registry("fruit")

    @registry.register("pear")
    def pear(size, ripe=True):
        return "pear", size, ripe

    registry.register("apple")(lambda: "apple")
    return registry


def test_builds_from_text_and_from_spec(fruit):
    assert fruit.build("pear(size=3, ripe=False)") == ("pear", 3, False)
    assert fruit.build(Spec("pear", {"size": 3})) == ("pear", 3, True)
    assert fruit.build("apple") == "apple"


def test_extra_arguments_join_those_of_the_spec(fruit):
    assert fruit.build("pear(ripe=False)", size=5) == ("pear", 5, False)


def test_names_are_sorted(fruit):
    assert fruit.names() == ["apple", "pear"]


def test_registering_returns_the_builder():
    def build():
        return 1

    assert Registry("fruit").register("plum")(build) is build


def test_an_unknown_name_lists_the_choices_and_the_closest(fruit):
    with pytest.raises(ValueError, match=r"Unknown fruit 'peer'.*\['apple', 'pear'\].*mean 'pear'"):
        fruit.build("peer")
    with pytest.raises(ValueError, match=r"\['apple', 'pear'\]\.$"):
        fruit.builder("zzz")


@pytest.mark.parametrize("spec", ["pear", "pear(size=1, color=red)", "apple(size=1)"])
def test_wrong_arguments_are_refused(fruit, spec):
    with pytest.raises(ValueError, match="Wrong arguments for fruit"):
        fruit.build(spec)


def test_an_argument_given_twice_is_refused(fruit):
    with pytest.raises(ValueError, match="pear"):
        fruit.build("pear(size=1)", size=2)


def test_a_name_is_registered_once(fruit):
    with pytest.raises(ValueError, match="Two builders registered for fruit 'pear'"):
        fruit.register("pear")(lambda: None)


def test_errors_of_the_builder_pass_through():
    registry = Registry("fruit")

    @registry.register("rotten")
    def rotten():
        raise TypeError("worm")

    with pytest.raises(TypeError, match="worm"):
        registry.build("rotten")


def test_a_name_is_described_by_the_first_line_of_its_docstring(fruit):
    @fruit.register("fig")
    def fig():
        """Makes a fig.

        And more.
        """

    assert fruit.describe() == {"apple": "", "fig": "Makes a fig.", "pear": ""}
