import numpy as np
import pytest
import tensorflow as tf

from tfsegkd import losses
from tfsegkd.losses.functional import area_at, labels_at, valid_at


@pytest.mark.parametrize(
    "size, target", [((6, 8), (3, 2)), ((7, 5), (3, 2)), ((3, 2), (6, 5)), ((9, 9), (9, 9))]
)
def test_area_is_the_mean_over_what_a_position_covers(size, target):
    values = np.random.default_rng(0).random((2, *size, 2))
    # Repeated until every position covers whole pixels.
    fine = values.repeat(target[0], 1).repeat(target[1], 2)
    want = fine.reshape(2, target[0], size[0], target[1], size[1], 2).mean((2, 4))
    got = area_at(values.astype("float32"), np.zeros((2, *target, 1)))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_position_is_valid_when_half_of_its_pixels_are():
    valid = np.array([[[1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]]])
    np.testing.assert_array_equal(valid_at(valid, np.zeros((1, 2, 3, 1))), [[[1, 0, 1], [1, 0, 0]]])
    # Thirds of five pixels: 1.67, of which 0.83 is the half.
    thirds = valid_at(np.array([[[1, 0, 0, 0.2, 1]]]), np.zeros((1, 1, 3, 1)))
    np.testing.assert_array_equal(thirds, [[[1, 0, 1]]])


def test_labels_are_those_of_the_nearest_pixel_unless_it_is_void():
    labels = np.arange(24).reshape(1, 4, 6)
    np.testing.assert_array_equal(labels_at(labels, np.zeros((1, 2, 3, 1))), [[[7, 9, 11], [19, 21, 23]]])
    valid = np.ones((1, 4, 6))
    valid[0, 1, 3] = valid[0, 2, 0] = 0
    got = labels_at(labels, np.zeros((1, 2, 3, 1)), valid)
    np.testing.assert_array_equal(got, [[[7, -1, 11], [19, 21, 23]]])


# All compile but cirkd with queues, which does not know how many entries it will write; two stand for them.
@pytest.mark.parametrize("name", ["pixelwise", "pairwise"])
def test_compiled_by_xla_the_value_is_the_same(name):
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 2, 4, 4, 3)).astype("float32")
    valid = (random.random((2, 12, 12)) > 0.4).astype("float32")
    loss = losses.get(name)
    compiled = tf.function(lambda *sides: loss(*sides, valid=valid), jit_compile=True)
    np.testing.assert_allclose(compiled(teacher, student), loss(teacher, student, valid=valid), rtol=1e-5)
