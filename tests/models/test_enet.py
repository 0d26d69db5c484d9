"""ENet."""

import pytest
from model_battery import Part, check_parts, classifier, conv, trainable

from tfsegkd import models


def bottleneck(stride, before, after, kernel=1, window=9, out=None):
    """Down to a quarter, a middle of `window` weights for each pair of channels with a bias, and up again.

    `out` is the stride of the result where it differs: a transposed convolution visits its input's positions.
    """
    inner = after // 4
    return [
        conv(stride, kernel, before, inner),
        Part(stride, window * inner**2, 3 * inner),
        conv(out or stride, 1, inner, after),
    ]


def up(stride, before, after):
    return [*bottleneck(stride, before, after, out=stride // 2), conv(stride, 1, before, after)]


def test_published_architecture():
    """Table 1 of the paper, line by line; its table 4 gives 0.37 M, which our 0.36 M reach with PReLUs."""
    parts = [Part(2, 13 * 27, 2 * 16)]
    parts += bottleneck(4, 16, 64, kernel=2) + 4 * bottleneck(4, 64, 64)
    parts += bottleneck(8, 64, 128, kernel=2)
    parts += 12 * bottleneck(8, 128, 128) + 4 * bottleneck(8, 128, 128, window=10)
    parts += up(8, 128, 64) + 2 * bottleneck(4, 64, 64) + up(4, 64, 16) + bottleneck(2, 16, 16)
    parts += [classifier(2, 16, 12, kernel=2)]
    model = models.build("enet", 12, (64, 96, 3))
    check_parts(model, parts)
    # A PReLU has a slope for each channel: two inside each block and one after it.
    slopes = 16 + (4 + 1) * (2 * 16 + 64) + (16 + 1) * (2 * 32 + 128) + 4 * 32
    assert trainable(model) + slopes == pytest.approx(0.365e6, abs=0.005e6)
