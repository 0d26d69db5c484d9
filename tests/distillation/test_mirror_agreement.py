"""How far a teacher agrees with itself on mirror images, which says without labels whether it knows them."""

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source
from tfsegkd.distillation import TeacherCache, load_teacher, mirror_agreement, preflight

SIZE = (8, 12)
INFO = DatasetInfo("grey", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))


class Frames(Source):
    """The left quarter of the columns is bright, all else has one shade."""

    def __init__(self, shade, count=5):
        super().__init__(INFO, [f"frame_{number}" for number in range(count)])
        self.shade = shade

    def read(self, index):
        mask = np.zeros(SIZE, np.uint8)
        mask[:, : SIZE[1] // 4] = 1
        return np.where(mask[..., None], 200, self.shade).astype(np.uint8).repeat(3, -1), mask


@keras.utils.register_keras_serializable("test")
class ByShade(keras.layers.Layer):
    """Knows bright pixels and black ones; of grey ones it says that those of the left half are bright."""

    def call(self, images):
        shade = images[..., 0]
        left = tf.cast(tf.range(tf.shape(images)[2]) < tf.shape(images)[2] // 2, tf.float32)
        bright = tf.where(
            (shade > 50) & (shade < 150), left * tf.ones_like(shade), tf.cast(shade > 150, tf.float32)
        )
        return 8 * tf.stack([1 - bright, bright], -1)


@pytest.fixture(scope="module")
def teacher():
    inputs = keras.Input((*SIZE, 3))
    return keras.Model(inputs, ByShade(name="logits")(inputs), name="by_shade")


# Of 12 columns a quarter is bright, which both views see. Of the grey ones the left half is called bright:
# columns 3, 4 and 5 of an image, and 6 … 11 of its mirror image, mirrored back.
PLAIN = np.array([1] * 6 + [0] * 6)
MIRRORED = np.array([1] * 3 + [0] * 3 + [1] * 6)
BY_HAND = np.mean(
    [np.sum((k == PLAIN) & (k == MIRRORED)) / np.sum((k == PLAIN) | (k == MIRRORED)) for k in (0, 1)]
)


@pytest.mark.parametrize(("shade", "expected"), [(0, 1.0), (100, BY_HAND)])
def test_it_is_the_iou_of_two_views(teacher, tmp_path, shade, expected):
    frames = Frames(shade)
    assert mirror_agreement(teacher, frames, SIZE) == pytest.approx(expected)
    cache = TeacherCache(tmp_path, load_teacher(teacher), frames, SIZE)
    assert mirror_agreement(cache, frames, SIZE, num_images=2) == pytest.approx(expected)


def test_a_cache_without_logits_has_none(teacher, tmp_path):
    inputs = keras.Input((*SIZE, 3))
    hint = keras.layers.Conv2D(2, 1, name="hint")(inputs)
    deep = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="logits")(hint))
    cache = TeacherCache(tmp_path, load_teacher(deep), Frames(0), SIZE, layers=("hint",))
    assert mirror_agreement(cache, Frames(0), SIZE) is None


def test_without_an_image_it_is_refused(teacher):
    with pytest.raises(ValueError, match="at least one image"):
        mirror_agreement(teacher, Frames(0, count=0), SIZE)


@pytest.mark.parametrize(
    ("agreements", "warns"), [((0.77, 0.765), False), ((0.93, 0.617), True), (None, False)]
)
def test_preflight_warns_of_images_that_the_teacher_does_not_know(teacher, agreements, warns):
    images = np.stack([frame for frame, _ in Frames(0)]).astype(np.float32)
    masks = np.stack([mask for _, mask in Frames(0)]).astype(np.int32)
    report = preflight(teacher, teacher, [(images, masks)], INFO, mirror_agreements=agreements)
    found = [str(finding) for finding in report.findings if "unlabelled images" in finding.what]
    assert (
        report.ok and bool(found) == warns and ("on mirror images" in str(report)) == (agreements is not None)
    )
    assert all("93.0%" in text and "61.7%" in text for text in found)
