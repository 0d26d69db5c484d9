"""Labels from logits."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd.metrics import labels, labels_at


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
def test_a_large_image_has_the_same_labels(shape, monkeypatch):
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    size = (64, 50)
    whole = tf.image.resize(logits, size).numpy()
    # Three rows at once.
    monkeypatch.setattr(labels, "_MOST_VALUES", 3 * size[1] * 3 * int(np.prod(shape[:-3])))
    found = labels_at(logits, size)
    assert found.shape == (*shape[:-3], *size) and found.dtype == np.uint8
    first, second = np.sort(whole, -1)[..., -1], np.sort(whole, -1)[..., -2]
    sure = first - second > 1e-4
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], whole.argmax(-1)[sure])
