"""Fast-SCNN."""

import pytest
from model_battery import (
    check_parts,
    classifier,
    conv,
    depthwise,
    inverted_residual,
    kernels,
    pooled,
    separable,
)

from tfsegkd import models


def test_published_architecture():
    """Tables 1 and 2 of the paper, line by line.

    Its table 5 gives 1.11 M for 19 classes, where BatchNorm is part of the convolutions.
    """
    parts = [conv(2, 3, 3, 32), *separable(4, 32, 48), *separable(8, 48, 64)]
    for stride, before, after in ((16, 64, 64), (32, 64, 96), (32, 96, 128)):
        parts += inverted_residual(stride, before, after, down=after < 128)
        parts += 2 * inverted_residual(stride, after, after)
    parts += [*pooled(128, 32, bins=(1, 2, 3, 6)), conv(32, 1, 256, 128)]
    parts += [depthwise(8, 128), conv(8, 1, 128, 128), conv(8, 1, 64, 128)]
    parts += [*2 * separable(8, 128, 128), classifier(8, 128, 19)]
    model = models.build("fast_scnn", 19, (64, 128, 3))
    check_parts(model, parts)
    assert kernels(model) == pytest.approx(1.11e6, abs=0.005e6)
