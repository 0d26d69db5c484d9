"""MobileNets, with the heads of their classifiers counted on top."""

import pytest
from model_battery import Part, classifier, conv, macs, parameters, trainable

from tfsegkd._keras import keras
from tfsegkd.graph import cost
from tfsegkd.models import mobilenet_v2, mobilenet_v3

SIZE = (224, 224)


def dense(before, after):
    return classifier(0, before, after)._replace(positions=1)


@pytest.mark.parametrize(
    ("build", "head", "published", "gmacs"),
    [
        (
            lambda x: mobilenet_v2.mobilenet_v2(x, 32),
            [conv(32, 1, 320, 1280), dense(1280, 1000)],
            3_504_872,
            0.301,
        ),
        pytest.param(
            lambda x: mobilenet_v3.mobilenet_v3(x, "large", 32),
            [dense(960, 1280), dense(1280, 1000)],
            5_483_032,
            0.217,
            marks=pytest.mark.slow,
        ),
        (
            lambda x: mobilenet_v3.mobilenet_v3(x, "small", 32),
            [dense(576, 1024), dense(1024, 1000)],
            2_542_856,
            0.057,
        ),
    ],
    ids=["v2", "v3 large", "v3 small"],
)
def test_published_counts(build, head: list[Part], published, gmacs):
    """`num_params` and `_ops` of torchvision's classifiers of 224×224 images."""
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, build(inputs))
    assert trainable(model) + parameters(head) == published
    assert (cost(model).macs + macs(head, *SIZE)) / 1e9 == pytest.approx(gmacs, abs=0.0005)
