"""PSPNet."""

import pytest
from model_battery import auxiliary, classifier, conv, macs, parameters, pooled, trainable

from tfsegkd import models
from tfsegkd.graph import cost

PYRAMID = [*pooled(2048, 512, bins=(1, 2, 3, 6)), conv(8, 3, 4096, 512), classifier(8, 512, 21)]
FCN_HEAD = [conv(8, 3, 2048, 512), classifier(8, 512, 21)]


def check_liu(model, published):
    """The counts that Liu et al., CVPR 2019, and those after them give for 19 classes.

    Their code has two things that ours leaves out: an auxiliary head, 3×3 from 1024 to 512 channels with a
    bias, and an entrance of three 3×3 convolutions, whose 128 channels the first block reads.
    """
    theirs = [conv(8, 3, 1024, 512), classifier(8, 512, 19)]
    theirs += [conv(2, 3, 3, 64), conv(2, 3, 64, 64), conv(2, 3, 64, 128)]
    more = parameters(theirs) + 512 - parameters([conv(2, 7, 3, 64)]) + 64 * (64 + 256)
    fewer_classes = (512 + 1) * (21 - 19)
    assert trainable(model) - fewer_classes + more == pytest.approx(published, abs=0.01e6)


def test_published_counts():
    """torchvision's ResNet-50, whose parameters and MACs its fcn_resnet50 gives, and fig. 3 of the paper."""
    model = models.build("pspnet", 21, (520, 520, 3))
    heads = auxiliary(1024, 21) + FCN_HEAD
    assert trainable(model) == 35_322_218 - parameters(heads) + parameters(PYRAMID)
    expected = 152.717e9 - macs(heads, 520, 520) + macs(PYRAMID, 520, 520)
    assert cost(model).macs == pytest.approx(expected, abs=1e6)
    check_liu(model, 51.45e6)


@pytest.mark.slow
def test_published_parameters_of_the_deeper_one():
    check_liu(models.build("pspnet(backbone=resnet101)", 21, (64, 64, 3)), 70.44e6)
