"""BiSeNet V2."""

from model_battery import check_model, trainable

from tfsegkd import models


def test_it_does_what_every_network_does(tmp_path):
    check_model("bisenet_v2(width_multiplier=0.25)", tmp_path)


def conv(kernel, before, after):
    return kernel * kernel * before * after + 2 * after


def depthwise(channels, multiplier=1):
    return 9 * channels * multiplier + 2 * channels * multiplier


def gather(before, after, down):
    """Fig. 5 of the paper; the block that strides has a second depthwise convolution and a shortcut."""
    parameters = conv(3, before, before) + depthwise(before, 6) + conv(1, 6 * before, after)
    if down:
        parameters += depthwise(6 * before) + depthwise(before) + conv(1, before, after)
    return parameters


def test_published_architecture():
    """Table 1 and fig. 6 of the paper, line by line; 3.34 M kernels for 19 classes."""
    expected = conv(3, 3, 64) + 4 * conv(3, 64, 64) + conv(3, 64, 128) + 2 * conv(3, 128, 128)
    expected += conv(3, 3, 16) + conv(1, 16, 8) + conv(3, 8, 16) + conv(3, 32, 16)
    for before, after, repeats in ((16, 32, 2), (32, 64, 2), (64, 128, 4)):
        expected += gather(before, after, True) + (repeats - 1) * gather(after, after, False)
    expected += conv(1, 128, 128) + conv(3, 128, 128)
    expected += 2 * (depthwise(128) + 128 * 128 + conv(3, 128, 128)) + conv(3, 128, 128)
    expected += conv(3, 128, 1024) + 1024 * 19 + 19
    assert trainable(models.build("bisenet_v2", 19, (32, 32, 3))) == expected
