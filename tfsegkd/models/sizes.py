"""Image sizes that a network takes, for messages about one that it does not."""

from collections.abc import Callable

_STEPS = (2, 4, 8, 16, 32, 64)


def sizes_that_fit(takes: Callable[[tuple[int, int]], object], size: tuple[int, int]) -> str:
    """The end of a message about a size that does not fit: the nearest multiples of 2, 4 … 64 that do.

    Args:
        takes: Raises if the network cannot take images of a size.
        size: (height, width) that it cannot take.
    """
    for step in _STEPS:
        larger = tuple(-(-side // step) * step for side in size)
        if larger == tuple(size):
            continue
        try:
            takes(larger)
        except Exception:  # whatever a layer says of a size that it cannot take
            continue
        smaller = tuple(max(step, side // step * step) for side in size)
        return f"Sizes that fit are multiples of {step}, such as {smaller} and {larger}."
    return "No multiple of 2 to 64 nearby fits either."
