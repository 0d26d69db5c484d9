"""Frames without masks: found, marked and mixed."""

import itertools

import numpy as np
import pytest
from PIL import Image

from tfsegkd import data
from tfsegkd.data import (
    NO_AUGMENTATION,
    UNLABELLED,
    Augmentation,
    DatasetInfo,
    Source,
    UnlabelledImages,
    WithoutLabels,
    dataset_statistics,
    evaluation_batches,
    mixed_batches,
    training_batches,
)

SIZE = (6, 8)
INFO = DatasetInfo("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))


class Labelled(Source):
    """Example n is of the grey value 100 + n."""

    def __init__(self, count=4):
        super().__init__(INFO, [str(n) for n in range(count)])

    def read(self, index):
        return np.full((*SIZE, 3), 100 + index, np.uint8), np.full(SIZE, index % 2, np.uint8)


@pytest.fixture
def frames(tmp_path):
    """Frame n is of the grey value 10 n."""
    (tmp_path / "deep").mkdir()
    for n in range(5):
        path = tmp_path / ("deep" if n % 2 else "") / f"{n}.png"
        Image.fromarray(np.full((*SIZE, 3), 10 * n, np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("no image")
    return UnlabelledImages(tmp_path, INFO)


def test_every_image_below_the_directory_is_a_frame(frames):
    assert sorted(int(image[0, 0, 0]) for image, _ in frames) == [0, 10, 20, 30, 40]
    assert not frames.labelled and frames.info is INFO


def test_inside_a_frame_is_unlabelled_and_outside_is_void(frames):
    smaller = Augmentation(0.5, 0.5, False, 0, 0, 0, 0)
    images, masks = next(iter(training_batches(frames, SIZE, 5, augmentation=smaller)))
    inside = masks.numpy() == UNLABELLED
    assert set(np.unique(masks)) == {UNLABELLED, 255}
    # Half the height and width: a quarter of the pixels.
    np.testing.assert_array_equal(inside.sum((1, 2)), [12] * 5)
    assert (images.numpy()[masks.numpy() == 255] >= 0).all()


def test_evaluation_batches_are_marked_like_those_of_training(frames):
    grey = []
    for images, masks in evaluation_batches(frames, SIZE, 2):
        assert masks.shape == images.shape[:3] and (masks.numpy() == UNLABELLED).all()
        grey += images.numpy()[:, 0, 0, 0].tolist()
    assert sorted(grey) == [0, 10, 20, 30, 40]
    (_, labelled), *_ = evaluation_batches(Labelled(), SIZE, 4)
    np.testing.assert_array_equal(labelled[:, 0, 0], [0, 1, 0, 1])


def test_a_batch_holds_both_kinds_in_order(frames):
    plain = {"augmentation": NO_AUGMENTATION}
    mixed = mixed_batches(
        training_batches(Labelled(), SIZE, 2, **plain), training_batches(frames, SIZE, 1, **plain)
    )
    for images, masks in itertools.islice(mixed, 8):
        grey = images.numpy()[:, 0, 0, 0]
        assert (grey[:2] >= 100).all() and grey[2] <= 40
        np.testing.assert_array_equal(masks.numpy()[:2, 0, 0], (grey[:2] - 100) % 2)
        assert (masks.numpy()[2] == UNLABELLED).all()


def test_a_stream_goes_on_from_any_step(frames):
    whole = [images.numpy() for images, _ in itertools.islice(training_batches(frames, SIZE, 2, seed=4), 9)]
    for step in range(5):
        rest = training_batches(frames, SIZE, 2, seed=4, start_epoch=step // 2, start_step=step % 2)
        for expected, (images, _) in zip(whole[step:], rest, strict=False):
            np.testing.assert_array_equal(images, expected)


def test_a_frame_that_cannot_be_read_is_named_or_left_out(frames):
    (frames.paths[2]).write_bytes(b"no png")
    with pytest.raises(ValueError, match=r"4\.png"):
        dataset_statistics(frames)
    found = dataset_statistics(frames, skip_bad=True)
    assert len(found.source) == 4 and not found.source.labelled


def test_another_frame_of_the_same_name_is_another_fingerprint(frames):
    before = frames.fingerprint()
    Image.new("RGB", (999, 9)).save(frames.paths[2])
    assert frames.fingerprint() != before


def test_labels_can_be_left_out():
    labelled, bare = Labelled(), WithoutLabels(Labelled())
    assert bare.fingerprint() == labelled.fingerprint() and bare.names == labelled.names
    streams = [training_batches(source, SIZE, 2, seed=1) for source in (labelled, bare)]
    for (images, masks), (same, unknown) in itertools.islice(zip(*streams, strict=True), 4):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(unknown.numpy(), np.where(masks == 255, 255, UNLABELLED))


def test_void_may_be_any_label():
    info = DatasetInfo("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)), ignore_label=0)
    source = Labelled()
    source.info = info
    ((_, masks),) = evaluation_batches(WithoutLabels(source), SIZE, 4)
    assert (masks.numpy() == UNLABELLED).all()


def test_linked_directories_are_read_once(frames, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "frames").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "around").symlink_to(tmp_path / "linked")
    Image.new("RGB", (8, 6)).save(tmp_path / "elsewhere" / "one.png")
    (tmp_path / "linked" / "deep").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "linked" / "deep" / "two.png")
    (tmp_path / "linked" / "again").symlink_to(tmp_path / "linked" / "deep")
    found = UnlabelledImages(tmp_path / "linked", INFO)
    assert found.names == ["deep/two.png", "frames/one.png"]


def test_a_directory_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No image in"):
        UnlabelledImages(tmp_path, INFO)
    with pytest.raises(FileNotFoundError):
        UnlabelledImages(tmp_path / "nowhere", INFO)


def test_as_a_data_set_of_its_own(frames, tmp_path):
    assert len(data.load("unlabelled", "train", tmp_path)) == 5
    source = data.load("unlabelled", "deep", tmp_path)
    assert source.names == ["1.png", "3.png"] and not source.labelled
    assert source.info.class_names == () and data.dataset_statistics(source).absent() == ()
    (tmp_path / "labels.txt").write_text("road\nsky")
    assert data.load("unlabelled", "train", tmp_path).info.class_names == ("road", "sky")
    with pytest.raises(ValueError, match=r"'unlabelled' lies in files\. Say where with `data_dir"):
        data.load("unlabelled", "train")
