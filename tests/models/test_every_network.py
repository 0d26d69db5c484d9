"""The battery, over a small member of every family and of every kind that differs in its parts."""

from pathlib import Path

import pytest
from model_battery import (
    NUM_CLASSES,
    ODD,
    check_file,
    check_learning,
    check_model,
    check_other_size,
    check_tflite,
    shaken,
)

from tfsegkd import models

# One for each kind of part; the others are slow.
QUICK = [
    "deeplab_v3(backbone=resnet18, width_multiplier=0.125, filters=8, rates=(1, 2))",
    "erfnet(width_multiplier=0.25)",
    "fast_scnn(width_multiplier=0.25)",
    "lite_unet(stages=4, width=8, weights=None)",
    "lraspp(size=small, width_multiplier=0.25, filters=8)",
    "mobile_unet(width_multiplier=0.5)",
    "segnet(width=4)",
    "unet(width=4)",
]
SLOW = [
    "bisenet_v2(width_multiplier=0.25)",
    "deeplab_v3(backbone=mobilenet_v3_small, width_multiplier=0.5, filters=8, output_stride=16)",
    "deeplab_v3_plus(weights=None, filters=16)",
    "deeplab_v3_plus(backbone=mobilenet_v3_large, weights=None, filters=8, width_multiplier=0.25)",
    "enet(width_multiplier=0.5)",
    "enet(width_multiplier=0.5, unpooling=upsample)",
    "erfnet(width_multiplier=0.25, block=dg2s, where=selective, decoder=light)",
    "fcn(backbone=resnet50, width_multiplier=0.125, output_stride=32)",
    "lite_unet(stages=7, width=16, weights=None)",
    "lraspp(size=large, width_multiplier=0.25, filters=8)",
    "pspnet(backbone=resnet18, width_multiplier=0.125, filters=8)",
    "pspnet(backbone=mobilenet_v2, width_multiplier=0.125, filters=8, output_stride=32, bins=(1, 2))",
    "segnet(width=4, unpooling=upsample)",
]


def family(spec):
    return spec.split("(")[0]


def built(spec):
    return models.build(spec, NUM_CLASSES, ODD)


def test_no_network_is_left_out():
    assert sorted({family(spec) for spec in QUICK + SLOW}) == models.names()
    here = Path(__file__).parent
    assert [name for name in models.names() if not (here / f"test_{name}.py").exists()] == []


@pytest.mark.parametrize("spec", QUICK)
def test_it_segments_images_of_an_odd_size(spec):
    check_model(built(spec), family(spec))


def test_it_comes_back_from_a_file_and_at_another_size(tmp_path):
    spec = "unet(width=4)"
    model = shaken(built(spec))
    check_file(model, tmp_path)
    check_other_size(model, spec)


@pytest.mark.slow
@pytest.mark.parametrize("spec", QUICK + SLOW)
def test_it_is_the_same_in_every_form_and_learns(spec, tmp_path):
    model = built(spec)
    check_model(model, family(spec))
    check_file(model, tmp_path)
    check_other_size(model, spec)
    check_tflite(model)
    check_learning(model)
