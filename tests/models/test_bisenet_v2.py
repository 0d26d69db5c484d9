"""BiSeNet V2."""

from model_battery import check_parts, classifier, conv, depthwise, kernels, pooled

from tfsegkd import models


def gather(stride, before, after, down):
    """Fig. 5 of the paper; the block that strides has a second depthwise convolution and a shortcut."""
    parts = [
        conv(stride // 2 if down else stride, 3, before, before),
        depthwise(stride, 6 * before),
        conv(stride, 1, 6 * before, after),
    ]
    if down:
        parts += [depthwise(stride, 6 * before), depthwise(stride, before), conv(stride, 1, before, after)]
    return parts


def test_published_architecture():
    """Table 1 and figs. 4 to 6 of the paper, line by line."""
    parts = [conv(2, 3, 3, 64), conv(2, 3, 64, 64), *3 * [conv(4, 3, 64, 64)]]
    parts += [conv(8, 3, 64, 128), *2 * [conv(8, 3, 128, 128)]]
    parts += [conv(2, 3, 3, 16), conv(2, 1, 16, 8), conv(4, 3, 8, 16), conv(4, 3, 32, 16)]
    for stride, before, after, repeats in ((8, 16, 32, 2), (16, 32, 64, 2), (32, 64, 128, 4)):
        parts += gather(stride, before, after, True)
        parts += (repeats - 1) * gather(stride, after, after, False)
    parts += [*pooled(128, 128), conv(32, 3, 128, 128)]
    for stride in (8, 32):  # of either branch, what it is weighed at its own resolution
        parts += [depthwise(stride, 128), conv(stride, 1, 128, 128)._replace(others=0)]
    parts += [conv(16, 3, 128, 128), conv(32, 3, 128, 128), conv(8, 3, 128, 128)]
    parts += [conv(8, 3, 128, 1024), classifier(8, 1024, 19)]
    model = models.build("bisenet_v2", 19, (64, 128, 3))
    check_parts(model, parts)
    assert round(kernels(model) / 1e6, 2) == 3.34
