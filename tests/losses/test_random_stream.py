import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.losses.random_stream import RandomStream


def stream(seed):
    keras.utils.set_random_seed(seed)
    random_stream = RandomStream()
    random_stream.build()
    return random_stream


def test_the_numbers_differ_from_call_to_call_and_follow_the_seed():
    first, again, other = stream(1), stream(1), stream(2)
    numbers = [first.uniform([1000]).numpy() for _ in range(3)]
    assert all(0.45 < each.mean() < 0.55 and each.min() >= 0 and each.max() < 1 for each in numbers)
    assert len({each[0] for each in numbers}) == 3
    np.testing.assert_array_equal(again.uniform([1000]), numbers[0])
    assert (other.uniform([1000]).numpy() != numbers[0]).any()


def test_a_checkpoint_holds_the_place_in_the_stream(tmp_path):
    random_stream = stream(3)
    draw = tf.function(lambda: random_stream.uniform([4]))
    draw()
    saved = tf.train.Checkpoint(random_stream=random_stream).write(str(tmp_path / "state"))
    expected = [draw().numpy() for _ in range(2)]
    resumed = stream(4)
    tf.train.Checkpoint(random_stream=resumed).read(saved).assert_existing_objects_matched()
    np.testing.assert_array_equal([resumed.uniform([4]).numpy() for _ in range(2)], expected)
