"""Checks pass good values through and say what is wrong with the others."""

import math

import pytest

from tfsegkd import checks


def test_one_of():
    assert checks.one_of("a", ("a", "b"), "letter") == "a"
    with pytest.raises(ValueError, match=r"letter must be one of \['a', 'b'\]\. Received: 'c'"):
        checks.one_of("c", ("a", "b"), "letter")
    with pytest.raises(ValueError, match=r"Received: 'pixel_wise'\. Did you mean 'pixelwise'\?"):
        checks.one_of("pixel_wise", ("pixelwise", "pairwise"), "loss")


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1])
def test_in_range(value):
    assert checks.in_range(value, 0, 1, "share") is value


@pytest.mark.parametrize("value", [-1e-9, 1.1, math.nan, math.inf, "0.5", None, True])
def test_out_of_range(value):
    with pytest.raises(ValueError, match=r"share must be a number from 0 to 1\. Received: "):
        checks.in_range(value, 0, 1, "share")


@pytest.mark.parametrize("value", [1, 1e-30, 2.5])
def test_positive(value):
    assert checks.positive(value, "temperature") is value


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1", None, True])
def test_not_positive(value):
    with pytest.raises(ValueError, match=r"temperature must be a number above 0\. Received: "):
        checks.positive(value, "temperature")


def test_the_message_of_another_library_is_quoted_in_one_short_line():
    error = ValueError("\x1b[1mCannot reshape\n\n  a tensor.\x1b[0m")
    assert checks.quoted(error) == "Cannot reshape a tensor"
    assert checks.quoted(error, 9) == "Cannot r…"
