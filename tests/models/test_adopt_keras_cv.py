"""keras-cv's networks, which TF-MOT refuses, are adopted, pruned, quantized and exported."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from foreign_networks import NETWORKS, NUM_CLASSES

from tfsegkd import models, runtime
from tfsegkd._keras import keras, tfmot
from tfsegkd.distillation import Distiller
from tfsegkd.quantization import quantize

pytest.importorskip("keras_cv")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_from_elsewhere_to_int8(name):
    original = NETWORKS[name]()
    model, report = models.adopt(original)
    assert report.difference < 1e-5
    images = np.random.default_rng(0).integers(0, 256, (2, *report.input_shape)).astype(np.float32)
    logits, expected = model(images), np.asarray(original(images, training=False))
    given = tf.nn.softmax(logits) if report.removed else logits
    np.testing.assert_allclose(given, expected, atol=1e-5 * np.abs(expected).max())

    pruned = tfmot.sparsity.keras.prune_low_magnitude(model)
    np.testing.assert_allclose(pruned(images), logits, rtol=1e-4, atol=1e-4)

    quantized = quantize(model, calibration=[images])
    content = runtime.convert(quantized, "uint8", "int8")
    assert runtime.profile(content).float_ops == []
    spread = np.ptp(np.asarray(logits))
    assert np.abs(np.asarray(quantized(images)) - logits).mean() < 0.1 * spread


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_straight_into_the_distiller_and_back(name):
    student = NETWORKS[name]()
    before = [np.array(weight) for weight in student.get_weights()]
    random = np.random.default_rng(1)
    distiller = Distiller(None, student)
    size = distiller.student.input_shape[1:]
    images = random.integers(0, 256, (4, *size)).astype(np.float32)
    masks = random.integers(0, NUM_CLASSES, (4, *size[:2])).astype(np.int32)
    distiller.compile(keras.optimizers.Adam(1e-3))
    distiller.fit(images, masks, batch_size=2, epochs=2, verbose=0)
    changed = [not np.array_equal(*pair) for pair in zip(before, student.get_weights(), strict=True)]
    assert np.mean(changed) > 0.9, "what the user holds has learnt"
    own, trained = (np.asarray(part) for part in (student(images, training=False), distiller.student(images)))
    if np.allclose(own.sum(-1), 1, atol=1e-4):  # the user's network ends in probabilities
        trained = tf.nn.softmax(trained)
    np.testing.assert_allclose(own, trained, atol=1e-4)


@pytest.mark.slow
def test_a_segformer_is_refused_kind_by_kind():
    import keras_cv

    backbone = keras_cv.models.MiTBackbone(
        input_shape=(64, 64, 3), include_rescaling=True, depths=[1] * 4, embedding_dims=[8, 16, 40, 64]
    )
    segformer = keras_cv.models.SegFormer(backbone=backbone, num_classes=NUM_CLASSES, projection_filters=8)
    # The first of its four stages is named, and the others are counted.
    found = r"BatchMatMulV2 in '.*hierarchical_encoder_0_0/seg_former_multihead_attention'.*and 3 more of"
    with pytest.raises(ValueError, match=found) as refused:
        models.adopt(segformer)
    assert "MixFFN" in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet", "mobilenet"])
def test_keras_cv_on_tf_keras(backbone):
    """In a process where tf.keras is Keras 2, keras-cv builds its networks with that."""
    program = f"""
import numpy as np, tfsegkd, tf_keras, foreign_networks
model = foreign_networks.keras_cv_deeplab({backbone!r})
assert isinstance(model, tf_keras.Model), type(model)
adopted, report = tfsegkd.models.adopt(model)
assert report.keras == "tf_keras" and report.opened and report.removed
tfsegkd._keras.tfmot.sparsity.keras.prune_low_magnitude(adopted)
print(report.difference)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert float(run.stdout.splitlines()[-1]) < 1e-5
