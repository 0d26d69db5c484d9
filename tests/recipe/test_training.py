"""A training that is interrupted ends where an uninterrupted one does."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.data import NO_AUGMENTATION, DatasetInfo, Source, WithoutLabels, evaluation_batches
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.data.statistics import Subset
from tfsegkd.distillation import Distiller, Term, parse_terms
from tfsegkd.losses import DistillationLoss
from tfsegkd.metrics import MeanIoU
from tfsegkd.recipe import Schedule, TrainingData
from tfsegkd.recipe.training import _batches, train

layers = keras.layers
SIZE = (32, 48)
SCHEDULE = Schedule(epochs=4, learning_rate=0.01, batch_size=4)


def network(name, filters, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, -1, name="scale")(image)
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="stage")(x)
    x = layers.Conv2D(11, 1, name="head")(x)
    return keras.Model(image, layers.UpSampling2D(2, name="enlarge")(x), name=name)


def started(seed, terms=("pixelwise(temperature=2)", "hint@stage:stage")):
    student = network("student", 5, seed)
    return Distiller(network("teacher", 7, 0), student, parse_terms(terms))


@pytest.fixture(scope="module")
def frames():
    splits = {
        split: RoadScenes(split, height=SIZE[0], width=SIZE[1], num_images=8) for split in ("train", "val")
    }
    return TrainingData(**splits, size=SIZE, seed=3)


class Kill(keras.callbacks.Callback):
    """Interrupts the training in the first step of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.at = epoch, None

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.at == self.epoch:
            raise KeyboardInterrupt


def test_an_average_is_kept_through_a_kill_and_is_what_comes_out(frames, tmp_path):
    averaged = dataclasses.replace(frames, ema=True, validate_every=4)
    plain, whole = started(1), started(1)
    train(plain, frames, SCHEDULE, tmp_path / "plain")
    train(whole, averaged, SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(started(1), averaged, SCHEDULE, tmp_path / "halved", [Kill(2)])
    resumed = started(2)
    train(resumed, averaged, SCHEDULE, tmp_path / "halved")
    weights = zip(plain.student.weights, whole.student.weights, resumed.student.weights, strict=True)
    for last, one, other in weights:
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.name)
        assert abs(last.numpy() - one.numpy()).max() > 1e-3, "an average is not what the last step made"
    # What validation noted is the network that comes out.
    (noted,) = json.loads((tmp_path / "whole" / "validation.json").read_text()).values()
    again = Distiller(None, whole.student)
    again.compile(metrics=[MeanIoU(11, 255)])
    batches = evaluation_batches(frames.val, SIZE, 4)
    assert again.evaluate(batches, verbose=0, return_dict=True)["mean_iou"] == pytest.approx(noted)


def test_an_average_is_not_begun_in_the_middle(frames, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(started(1), frames, SCHEDULE, tmp_path, [Kill(2)])
    with pytest.raises(ValueError, match=r"does not hold all that this training keeps.*`ema`.*delete"):
        train(started(1), dataclasses.replace(frames, ema=True), SCHEDULE, tmp_path)
    without = {key for key in frames.settings() if "ema" in key}
    assert not without and dataclasses.replace(frames, ema=True).settings()["ema"] is True


def test_a_killed_training_goes_on_where_it_was(frames, tmp_path, capsys):
    whole = started(1)
    train(whole, frames, SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(started(1), frames, SCHEDULE, tmp_path / "halved", [Kill(2)])
    capsys.readouterr()
    # The initial weights of the second attempt must not matter.
    resumed = started(2)
    train(resumed, frames, SCHEDULE, tmp_path / "halved")
    lines = capsys.readouterr().out
    assert "resuming after epoch 2 of 4" in lines
    assert "epoch 3/4" in lines and "epoch 2/4" not in lines
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations) == 8
    for one, other in zip(whole.student.weights, resumed.student.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.name)
    # Called once more, it finds nothing left to do.
    again = started(2)
    train(again, frames, SCHEDULE, tmp_path / "halved")
    for one, other in zip(resumed.student.weights, again.student.weights, strict=True):
        np.testing.assert_array_equal(one, other)


class Plain(Source):
    """Frames of the grey value `first` + index, on each of which a whole batch can be told apart."""

    def __init__(self, first, count):
        super().__init__(RoadScenes("val", height=32, width=48, num_images=1).info, [*map(str, range(count))])
        self.first = first

    def read(self, index):
        return np.full((*SIZE, 3), self.first + index, np.uint8), np.zeros(SIZE, np.uint8)


@pytest.mark.slow
def test_a_training_that_stops_in_between_ends_where_another_does(frames, tmp_path):
    whole, part, rest = started(1), started(1), started(2)
    train(whole, frames, SCHEDULE, tmp_path / "whole")
    train(part, frames, SCHEDULE, tmp_path / "part", until=2)
    assert int(part.optimizer.iterations) == 2 * 2
    train(rest, frames, SCHEDULE, tmp_path / "part")
    for one, other in zip(whole.student.weights, rest.student.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.name)


def test_a_training_goes_on_with_more_frames_at_its_place_in_the_schedule(frames, tmp_path):
    fewer = dataclasses.replace(frames, train=Subset(frames.train, [0, 1, 2, 3]))
    part, rest = started(1, ()), started(1, ())
    train(part, fewer, SCHEDULE, tmp_path, until=3)
    assert int(part.optimizer.iterations) == 3 * 1
    train(rest, frames, SCHEDULE, tmp_path)
    # The cosine, which counts steps, has come to its end.
    assert int(rest.optimizer.iterations) == 4 * 2


def test_unlabelled_frames_take_places_in_the_batch(monkeypatch, tmp_path):
    seen = []

    def note(self, data, initial_epoch, epochs, steps_per_epoch, **options):
        for images, _ in data.take((epochs - initial_epoch) * steps_per_epoch):
            seen.append(images.numpy()[:, 0, 0, 0].astype(int).tolist())

    monkeypatch.setattr(Distiller, "fit", note)
    size = {"size": SIZE, "seed": 3, "augmentation": NO_AUGMENTATION}
    mixed = TrainingData(
        Plain(0, 8),
        Plain(0, 8),
        unlabelled=WithoutLabels(Plain(100, 6)),
        unlabelled_per_batch=3,
        unlabelled_in_batch=True,
        **size,
    )
    train(started(1), mixed, SCHEDULE, tmp_path / "whole")
    # Four epochs of 8 // 4 steps, of one labelled frame and three others each.
    assert len(seen) == 8 and {len(step) for step in seen} == {4}
    assert all(step[0] < 100 <= min(step[1:]) for step in seen)
    # Each frame comes once before any comes again.
    assert sorted(step[0] for step in seen) == list(range(8))
    assert sorted(seen[0][1:] + seen[1][1:]) == list(range(100, 106))
    # Going on after three epochs gives what the fourth has seen.
    later = _batches(mixed, SCHEDULE, 3, None, mixed=True).take(2)
    assert [images.numpy()[:, 0, 0, 0].astype(int).tolist() for images, _ in later] == seen[6:]
    # Without terms there is nothing to learn from them.
    seen.clear()
    train(started(1, ()), mixed, SCHEDULE, tmp_path / "alone")
    assert {len(step) for step in seen} == {4} and max(map(max, seen)) < 100
    plain = dataclasses.replace(mixed, unlabelled_in_batch=False)
    assert "unlabelled_in_batch" not in plain.settings() and mixed.settings()["unlabelled_in_batch"]


class NotANumber(DistillationLoss):
    """Fails from its third call on, in the second epoch."""

    def build(self, input_shape):
        self.calls = self.add_weight("calls", trainable=False, initializer="zeros")
        super().build(input_shape)

    def compare(self, teacher, student, valid, labels, images):
        self.calls.assign_add(1.0)
        bad = tf.where(self.calls > 2, np.nan, 0.0)
        return tf.reduce_mean(student, [1, 2, 3]) + bad


def test_nan_stops_the_training_with_the_name_of_the_loss(frames, tmp_path):
    student = network("student", 5, 1)
    distiller = Distiller(network("teacher", 7, 0), student, [Term(NotANumber(name="odd"))])
    with pytest.raises(FloatingPointError, match=r"'odd'.*became NaN or infinite in step 0.*learning rate"):
        train(distiller, frames, SCHEDULE, tmp_path)
    # The whole first epoch is kept, and nothing of the second.
    kept = started(1, ["pixelwise"])
    assert [path.name for path in sorted((tmp_path / "progress").iterdir())] == [
        "epoch_000000",
        "epoch_000001",
    ]
    tf.train.Checkpoint(model=kept).read(str(tmp_path / "progress/epoch_000001/state")).expect_partial()
    assert all(np.isfinite(weight).all() for weight in kept.student.get_weights())


def test_a_training_may_go_back_and_halve_the_rate(frames, tmp_path, capsys):
    schedule = dataclasses.replace(SCHEDULE, halve_at_nan=2)
    distiller = Distiller(network("teacher", 7, 0), network("student", 5, 1), [Term(NotANumber(name="odd"))])
    # It fails in every second epoch, however often it is tried.
    with pytest.raises(FloatingPointError, match="'odd'"):
        train(distiller, frames, schedule, tmp_path)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("going back")] == [
        "going back to epoch 1, at 0.5 of the learning rate",
        "going back to epoch 1, at 0.25 of the learning rate",
    ]
    rate = distiller.optimizer._learning_rate
    full = schedule.optimizer(steps_per_epoch=2)._learning_rate
    np.testing.assert_allclose(rate(3), 0.25 * full(3), rtol=1e-6)


@pytest.mark.parametrize(("limit", "advice"), [(2, "`batch_size=2` fits"), (0, "not even one image fits")])
def test_a_step_that_does_not_fit_into_memory(limit, advice, frames, tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    tried = []

    def on_batch(self, images, masks):
        tried.append(len(images))
        return full() if len(images) > limit else {}

    monkeypatch.setattr(Distiller, "fit", full)
    monkeypatch.setattr(Distiller, "train_on_batch", on_batch)
    schedule = dataclasses.replace(SCHEDULE, batch_size=8)
    with pytest.raises(MemoryError, match=rf"8 images does not fit into memory; .*{advice}"):
        train(started(1), frames, schedule, tmp_path)
    assert tried == ([4, 2] if limit else [4, 2, 1])


class Void(Source):
    """Frames without a single label."""

    def __init__(self, info):
        super().__init__(info, [f"void_{number}" for number in range(4)])

    def read(self, index):
        return np.full((*SIZE, 3), 60, np.uint8), np.full(SIZE, self.info.ignore_label, np.uint8)


def test_a_step_without_labels_does_not_stop_the_training(frames, tmp_path):
    void = Void(frames.train.info)
    schedule = Schedule(epochs=1, learning_rate=0.01, batch_size=4)
    train(Distiller(None, network("student", 5, 1)), TrainingData(void, void, SIZE), schedule, tmp_path)


def test_validation_on_request(frames, tmp_path, capsys):
    schedule = Schedule(epochs=2, learning_rate=0.01, batch_size=4)
    asked = TrainingData(frames.train, frames.val, SIZE, validate_every=2)
    train(Distiller(None, network("student", 5, 1)), asked, schedule, tmp_path)
    first, second = (line for line in capsys.readouterr().out.splitlines() if "epoch" in line)
    assert "val_mean_iou" not in first and "val_mean_iou" in second
    assert list((tmp_path / "logs").rglob("events.*")), "TensorBoard's logs"


def test_the_learning_rate_warms_up_and_decays_to_zero():
    schedule = Schedule(epochs=10, learning_rate=0.5, batch_size=4, warmup_epochs=2)
    rate = schedule.optimizer(steps_per_epoch=5)._learning_rate
    values = np.array([float(rate(step)) for step in range(51)])
    np.testing.assert_allclose(values[:11], np.linspace(0, 0.5, 11), atol=1e-6)
    cosine = 0.25 * (1 + np.cos(np.pi * np.arange(41) / 40))
    np.testing.assert_allclose(values[10:], cosine, atol=1e-6)


def test_kernels_decay_and_norms_do_not():
    model = network("student", 5, 1)
    optimizer = Schedule(1, learning_rate=0.1, weight_decay=0.5, warmup_epochs=0).optimizer(10)
    before = [weight.numpy() for weight in model.trainable_weights]
    zeros = [tf.zeros_like(weight) for weight in model.trainable_weights]
    optimizer.apply_gradients(zip(zeros, model.trainable_weights, strict=True))
    for old, weight in zip(before, model.trainable_weights, strict=True):
        want = old * (1 - 0.1 * 0.5) if "kernel" in weight.name else old
        np.testing.assert_allclose(weight, want, rtol=1e-5, err_msg=weight.name)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"epochs": -1}, {"learning_rate": 0.0}, {"batch_size": 0}, {"learning_rate": True}],
)
def test_a_schedule_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Schedule(**{"epochs": 1, "learning_rate": 0.1, **wrong})


def test_settings_tell_runs_apart(frames):
    info = DatasetInfo("other", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
    base = json.dumps(frames.settings())
    for change in (
        {"seed": 4},
        {"size": (48, 48)},
        {"crop_size": (32, 32)},
        {"class_weights": (1.0,) * 11},
        {"train": Void(info)},
    ):
        fields = {"train": frames.train, "val": frames.val, "size": SIZE, "seed": 3} | change
        assert json.dumps(TrainingData(**fields).settings()) != base, change
    of_names = [
        TrainingData(frames.train, Void(DatasetInfo("other", names, info.palette)), SIZE).settings()["val"]
        for names in (("a", "b"), ("b", "a"))
    ]
    assert of_names[0] != of_names[1]
    logging_only = TrainingData(frames.train, frames.val, SIZE, seed=3, validate_every=5)
    assert json.dumps(logging_only.settings()) == base
