"""ERFNet and its kin."""

import numpy as np
import pytest
from model_battery import check_model, kernels, trainable

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
    "erfnet(block=dg8s)": (281_904, 7.543),
    "erfnet(block=d, decoder=light)": (431_312, 5.773),
    "erfnet(block=dg4, decoder=light)": (203_984, 3.156),
    "erfnet(block=dg2, where=selective)": (1_238_960, 18.998),
    "erfnet(block=dg8, where=selective)": (1_183_664, 18.394),
}


@pytest.mark.parametrize(
    "spec",
    [
        "erfnet(width_multiplier=0.25)",
        "erfnet(width_multiplier=0.25, block=dg2s, where=selective, decoder=light)",
    ],
)
def test_it_does_what_every_network_does(spec, tmp_path):
    check_model(spec, tmp_path)


def test_published_counts():
    """2.06 M parameters in Romera et al., table IV; 26.6 GMAC as counted by their own code's conversions."""
    model = models.build("erfnet", 19, SHAPE)
    assert trainable(model) == 2_064_191
    assert cost(model).macs * SCALE == pytest.approx(26.60e9, rel=5e-4)


def deconvolutions(model):
    """What counting at output positions adds: three more visits for each deconvolution by 2."""
    extra = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            positions = int(np.prod(layer.input_shape[1:3]))
            extra += 3 * positions * int(np.prod(layer.kernel.shape))
    return extra


@pytest.fixture(scope="module")
def paper():
    model = models.build("erfnet", 19, SHAPE)
    return kernels(model), cost(model).macs + deconvolutions(model)


@pytest.mark.parametrize("spec", list(PUBLISHED)[1:])
def test_variants_differ_from_the_paper_network_as_published(paper, spec):
    model = models.build(spec, 19, SHAPE)
    parameters, gmacs = (one - other for one, other in zip(PUBLISHED[spec], PUBLISHED["erfnet"], strict=True))
    assert kernels(model) - paper[0] == parameters
    macs = cost(model).macs + deconvolutions(model) - paper[1]
    assert macs * SCALE / 1e9 == pytest.approx(gmacs, abs=1.1e-3)
    assert any(layer.name.endswith("_shuffle") for layer in model.layers) == ("s)" in spec)


def test_dilations_and_dropout_are_the_papers():
    model = models.build("erfnet(width_multiplier=0.25)", 3, (32, 32, 3))
    names = [f"stride8_{number}" for number in range(1, 8)] + ["stride8"]
    assert [model.get_layer(f"{name}_2a_conv").dilation_rate[0] for name in names] == [2, 4, 8, 16] * 2
    assert [model.get_layer(f"{name}_2b_conv").dilation_rate[1] for name in names] == [2, 4, 8, 16] * 2
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_dropout")}
    assert sorted(rates.values()) == [0.03] * 5 + [0.3] * 8
