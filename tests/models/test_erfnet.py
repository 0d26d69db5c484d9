"""ERFNet and its kin."""

import re

import numpy as np
import pytest
from model_battery import kernels, trainable

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.graph import cost

# The papers count at 512×1024; every stride divides this smaller image, 64 times smaller, as well.
SHAPE, SCALE = (64, 128, 3), 64
# Vallurupalli et al. 2018, https://arxiv.org/abs/1806.08522, tables 1 and 2: kernel parameters and GMAC at
# 512×1024. Their deconvolutions count at output positions.
PUBLISHED = {
    "erfnet": (2_038_448, 27.705),
    "erfnet(block=d)": (547_120, 10.597),
    "erfnet(block=dg2)": (395_568, 8.852),
    "erfnet(block=dg4)": (319_792, 7.980),
    "erfnet(block=dg8s)": (281_904, 7.543),
    "erfnet(block=d, decoder=light)": (431_312, 5.773),
    "erfnet(block=dg2s, decoder=light)": (279_760, 4.029),
    "erfnet(block=dg4, decoder=light)": (203_984, 3.156),
    "erfnet(block=dg2, where=selective)": (1_238_960, 18.998),
    "erfnet(block=dg4, where=selective)": (1_202_096, 18.595),
    "erfnet(block=dg8, where=selective)": (1_183_664, 18.394),
}
# The others are slow.
QUICK = ("erfnet(block=dg2s, decoder=light)",)


@pytest.fixture(scope="module")
def paper():
    return models.build("erfnet", 19, SHAPE)


def test_published_counts(paper):
    """2.06 M parameters in Romera et al., table IV; 26.6 GMAC as counted by their own code's conversions."""
    assert trainable(paper) == 2_064_191
    assert cost(paper).macs * SCALE == pytest.approx(26.60e9, rel=5e-4)


def deconvolutions(model):
    """What counting at output positions adds: three more visits for each deconvolution by 2."""
    extra = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            positions = int(np.prod(layer.input_shape[1:3]))
            extra += 3 * positions * int(np.prod(layer.kernel.shape))
    return extra


@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, marks=() if spec in QUICK else pytest.mark.slow) for spec in list(PUBLISHED)[1:]],
)
def test_variants_differ_from_the_paper_network_as_published(paper, spec):
    model = models.build(spec, 19, SHAPE)
    parameters, gmacs = (one - other for one, other in zip(PUBLISHED[spec], PUBLISHED["erfnet"], strict=True))
    assert kernels(model) - kernels(paper) == parameters
    macs, before = (cost(one).macs + deconvolutions(one) for one in (model, paper))
    macs -= before
    assert macs * SCALE / 1e9 == pytest.approx(gmacs, abs=1.1e-3)
    shuffles = [layer for layer in model.layers if layer.name.endswith("_shuffle")]
    blocks = 6 if "selective" in spec else 13
    assert len(shuffles) == (blocks if re.search(r"dg\ds", spec) else 0)
    assert all(layer.groups == int(re.search(r"dg(\d)", spec)[1]) for layer in shuffles)


def test_dilations_and_dropout_are_the_papers(paper):
    names = [f"stride8_{number}" for number in range(1, 8)] + ["stride8"]
    assert [paper.get_layer(f"{name}_2a_conv").dilation_rate[0] for name in names] == [2, 4, 8, 16] * 2
    assert [paper.get_layer(f"{name}_2b_conv").dilation_rate[1] for name in names] == [2, 4, 8, 16] * 2
    rates = {layer.name: layer.rate for layer in paper.layers if layer.name.endswith("_dropout")}
    assert sorted(rates.values()) == [0.03] * 5 + [0.3] * 8


def test_dropout_can_be_left_out():
    narrow = models.build("erfnet(width_multiplier=0.25, dropout=0)", 5, (32, 48, 3))
    assert not [layer for layer in narrow.layers if "dropout" in layer.name]
    with pytest.raises(
        ValueError, match=r"dropout of model 'erfnet' must be a number from 0\.0 to 1\.0\. Received: 2"
    ):
        models.build("erfnet(dropout=2)", 5, (32, 48, 3))
