"""Batches: every example its turn, the same ones again after a restart."""

import itertools

import numpy as np
import pytest

from tfsegkd.data import NO_AUGMENTATION, evaluation_batches, training_batches
from tfsegkd.data.image_cache import ImageCache
from tfsegkd.data.source import DatasetInfo, Source

SIZE = (6, 8)


class Numbered(Source):
    """Example n is a frame of the grey value 10 n + 5 with mask n % 3, in sizes that differ."""

    def __init__(self, count):
        info = DatasetInfo("numbered", ("a", "b", "c"), ((0, 0, 0),) * 3)
        super().__init__(info, [str(n) for n in range(count)])
        self.reads = [0] * count

    def read(self, index):
        self.reads[index] += 1
        shape = (SIZE[0] + index % 2, SIZE[1] + index % 3)
        return np.full((*shape, 3), 10 * index + 5, np.uint8), np.full(shape, index % 3, np.uint8)


class Textured(Numbered):
    """Frames whose every pixel is different."""

    def read(self, index):
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (*SIZE, 3), np.uint8), rng.integers(0, 3, SIZE).astype(np.uint8)


def take(count, batches):
    return [tuple(part.numpy() for part in batch) for batch in itertools.islice(batches, count)]


def order(source, epochs, batch_size, **options):
    """Which examples each epoch shows, in order."""
    per_epoch = len(source) // batch_size
    batches = training_batches(source, SIZE, batch_size, augmentation=NO_AUGMENTATION, **options)
    shown = [
        (images[:, 0, 0, 0] // 10).astype(int).tolist() for images, _ in take(epochs * per_epoch, batches)
    ]
    return [list(itertools.chain(*shown[n * per_epoch :][:per_epoch])) for n in range(epochs)]


def test_batches_have_the_promised_shapes_types_and_values():
    for images, masks in take(4, training_batches(Textured(5), SIZE, 2)):
        assert images.shape == (2, *SIZE, 3)
        assert masks.shape == (2, *SIZE)
        assert images.dtype == np.float32
        assert masks.dtype == np.int32
        assert images.min() >= 0
        assert images.max() <= 255.001
        assert set(np.unique(masks)) <= {0, 1, 2, 255}
    spec = training_batches(Textured(5), SIZE, 2).element_spec
    assert [part.shape.as_list() for part in spec] == [[2, *SIZE, 3], [2, *SIZE]]


def test_an_epoch_has_each_example_at_most_once_and_shuffles_again():
    epochs = order(Numbered(7), epochs=6, batch_size=2)
    for epoch in epochs:
        assert len(epoch) == 6
        assert len(set(epoch)) == 6
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert set().union(*epochs) == set(range(7))  # the example that is left out changes


def test_frames_without_augmentation_are_the_source_resized():
    source = Numbered(5)
    for images, masks in take(4, training_batches(source, SIZE, 2, augmentation=NO_AUGMENTATION)):
        numbers = (images[:, 0, 0, 0] // 10).astype(int)
        np.testing.assert_array_equal(
            images, np.broadcast_to(10 * numbers[:, None, None, None] + 5, images.shape)
        )
        np.testing.assert_array_equal(masks, np.broadcast_to(numbers[:, None, None] % 3, masks.shape))


def test_seeds_differ_and_equal_seeds_do_not():
    orders = [order(Numbered(8), 2, 4, seed=seed) for seed in (0, 1, 2, 0)]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    frames = [take(1, training_batches(Textured(4), SIZE, 4, seed=seed))[0][0] for seed in (0, 1, 0)]
    np.testing.assert_array_equal(frames[0], frames[2])
    assert not np.allclose(np.sort(frames[0].ravel()), np.sort(frames[1].ravel()), atol=1)


@pytest.mark.parametrize("start_epoch", [1, 3])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(start_epoch):
    options = {"size": SIZE, "batch_size": 2, "crop_size": (5, 7), "seed": 4}
    whole = take(4 * 3, training_batches(Textured(7), **options))
    resumed = take((4 - start_epoch) * 3, training_batches(Textured(7), **options, start_epoch=start_epoch))
    for (images, masks), (images_again, masks_again) in zip(whole[start_epoch * 3 :], resumed, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(masks, masks_again)
    assert not np.array_equal(whole[0][0], resumed[0][0])


def test_a_smaller_crop_is_a_part_of_the_frame():
    options = {"crop_size": (3, 4), "augmentation": NO_AUGMENTATION}
    for images, masks in take(3, training_batches(Numbered(4), SIZE, 2, **options)):
        assert images.shape == (2, 3, 4, 3)
        assert masks.shape == (2, 3, 4)
        assert masks.max() < 3  # nothing from outside
        np.testing.assert_allclose(images, np.broadcast_to(images[:, :1, :1], images.shape), atol=1e-3)


def test_around_a_frame_smaller_than_the_crop_lies_grey_and_void():
    options = {"crop_size": (10, 12), "augmentation": NO_AUGMENTATION}
    for images, masks in take(3, training_batches(Numbered(4), SIZE, 2, **options)):
        assert masks.shape == (2, 10, 12)
        np.testing.assert_array_equal((masks != 255).sum((1, 2)), [SIZE[0] * SIZE[1]] * 2)
        around = np.pad(masks, ((0, 0), (1, 1), (1, 1)), constant_values=255)
        # One pixel around the frame is blended with it.
        windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (1, 2))
        outside = (windows == 255).all((-1, -2))
        assert outside.any()
        np.testing.assert_array_equal(images[outside], 127.5)


def test_fewer_examples_than_a_batch_is_an_error_at_once():
    with pytest.raises(ValueError, match=r"has 3 examples, fewer than one batch of 4\. Lower `batch_size`"):
        training_batches(Numbered(3), SIZE, 4)
    with pytest.raises(ValueError, match="batch_size must be a number above 0"):
        training_batches(Numbered(3), SIZE, 0)
    assert len(take(2, training_batches(Numbered(3), SIZE, 3))) == 2


def test_evaluation_sees_every_example_once_in_order():
    batches = list(evaluation_batches(Numbered(7), SIZE, 3))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    images, masks = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
    assert images.dtype == np.float32
    assert masks.dtype == np.int32
    assert images.shape == (7, *SIZE, 3)
    for number in range(7):
        assert (images[number] == 10 * number + 5).all()
        assert (masks[number] == number % 3).all()


def test_frames_are_decoded_once_within_the_budget():
    source = Numbered(4)
    cache = ImageCache(source.read, SIZE, budget=2 * 4 * SIZE[0] * SIZE[1])
    for _, index in itertools.product(range(3), range(4)):
        image, mask = cache(index)
        assert image.shape == (*SIZE, 3)
        assert (image == 10 * index + 5).all()
        assert (mask == index % 3).all()
    assert source.reads == [1, 1, 3, 3]
