"""Valid image sizes of a network, for error messages about an invalid one."""

from collections.abc import Callable

_STEPS = (2, 4, 8, 16, 32, 64)


def sizes_that_fit(takes: Callable[[tuple[int, int]], object], size: tuple[int, int]) -> str:
    """The end of an error message about an invalid size: the nearest valid multiples of 2, 4 … 64.

    Args:
        takes: Raises for a size that is invalid for the network.
        size: The invalid (height, width).
    """
    for step in _STEPS:
        larger = tuple(-(-side // step) * step for side in size)
        if larger == tuple(size):
            continue
        try:
            takes(larger)
        except Exception:  # any error of a layer about its size
            continue
        smaller = tuple(max(step, side // step * step) for side in size)
        return f"Sizes that fit are multiples of {step}, such as {smaller} and {larger}."
    return "No multiple of 2 to 64 nearby fits either."
