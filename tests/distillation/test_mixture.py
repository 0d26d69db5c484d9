"""Unlike teachers as one: each with its own classes, size and weight; against NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_networks import CLASSES, HEIGHT, SHAPE, WIDTH, Table, network

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source, WithoutLabels, evaluation_batches, training_batches
from tfsegkd.distillation import (
    Distiller,
    Member,
    TeacherCache,
    Term,
    fit_weights,
    load_teacher,
    parse_members,
    preflight,
)
from tfsegkd.distillation.teachers.mixture import mixed
from tfsegkd.evaluation import Predictor, evaluate, evaluate_members

CLASS_NAMES = ("sky", "road", "car", "fence")
SMALL = (8, 12)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype("float32")


def softmax(logits):
    exponentials = np.exp(np.float64(logits) - np.max(logits, -1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def look(teacher, images, layer_name="logits"):
    return teacher.feature_extractor([layer_name])(tf.constant(images))[layer_name].numpy()


def resized(maps, size):
    """By Pillow: a triangle as wide as the pixels of the coarser grid."""

    def plane(values):
        return np.asarray(Image.fromarray(np.float32(values)).resize(size[::-1], Image.Resampling.BILINEAR))

    return np.stack([np.stack([plane(values[..., c]) for c in range(maps.shape[-1])], -1) for values in maps])


def constant(probabilities, name):
    """A network that gives the same probabilities everywhere."""
    image = keras.Input(SHAPE)
    return keras.Model(image, Table(np.log(np.float32(probabilities)), name="table")(image), name=name)


# Sizes and weights


@pytest.mark.parametrize("weight", [1.0, 0.5, 0])
def test_members_of_unlike_sizes_and_weights_show_the_weighted_mean(weight, images):
    large = network("large")
    small = network("small", filters=3, shape=(*SMALL, 3), seed=5)
    teacher = load_teacher([large, Member(small, weight=weight)])
    theirs = resized(small.predict(resized(images, SMALL), verbose=0), (HEIGHT, WIDTH))
    expected = (softmax(large.predict(images, verbose=0)) + weight * softmax(theirs)) / (1 + weight)
    np.testing.assert_allclose(np.exp(look(teacher, images)), expected, atol=2e-5)
    assert teacher.size is None and teacher.input_size == (HEIGHT, WIDTH)


def test_a_member_looks_at_images_of_the_size_that_it_is_given(images):
    model = network("large")
    teacher = load_teacher(Member(model, size=SMALL))
    expected = models.at_size(model, SMALL).predict(resized(images, SMALL), verbose=0)
    np.testing.assert_allclose(look(teacher, images), resized(expected, (HEIGHT, WIDTH)), atol=1e-4)
    assert teacher.input_size == SMALL


def test_weights_by_class_that_are_alike_are_the_plain_mean(images):
    pair = [network("one"), network("two", seed=3)]
    plain = np.exp(look(load_teacher(pair, weights=[3, 1]), images))
    # Just unlike enough to be computed by class.
    rows = np.repeat([[3.0], [1.0]], CLASSES, 1) * (1 + 1e-4 * np.eye(2, CLASSES))
    np.testing.assert_allclose(np.exp(look(load_teacher(pair, weights=rows), images)), plain, atol=1e-4)


# Classes


def by_iteration(probabilities, weights):
    """The mixture by the formula of `mixed`, turned over until it stands still, a pixel at a time."""
    probabilities, weights = np.float64(probabilities), np.float64(weights)
    # A teacher that sees something else counts for less.
    known = probabilities.sum(-1)
    weights = weights * known[:, None]
    mixture = np.full(probabilities.shape[-1], 1 / probabilities.shape[-1])
    for _ in range(20_000):
        factors = weights @ mixture / (weights * probabilities).sum(-1)
        mixture = (weights * factors[:, None] * probabilities).sum(0) / weights.sum(0)
        mixture /= mixture.sum()
    return mixture


@pytest.mark.parametrize("count", [2, 3])
def test_a_mixture_by_class_is_where_its_formula_stands_still(count):
    random = np.random.default_rng(count)
    probabilities = random.dirichlet(np.ones(5), (count, 6))
    probabilities[1] *= random.uniform(0.2, 1, (6, 1))
    weights = random.uniform(0.05, 1, (count, 5))
    shown = mixed([tf.constant(np.log(each), tf.float32) for each in probabilities], weights)
    expected = [by_iteration(probabilities[:, pixel], weights) for pixel in range(6)]
    np.testing.assert_allclose(np.exp(shown), expected, atol=1e-5)


def test_a_class_that_a_member_does_not_know_is_not_diluted(images):
    own = constant([0.1, 0.2, 0.1, 0.6], "own")
    # Its channels: road, nothing of ours, sky, car. Fence it does not know.
    city = constant([0.9, 0.0001, 0.0499, 0.05], "city")
    table = {"road": 0, "sky": 2, "car": 3}
    teacher = load_teacher([own, Member(city, class_map=table)], class_names=CLASS_NAMES)
    shown = np.exp(look(teacher, images))[0, 0, 0]
    assert shown[3] == pytest.approx(0.6, abs=1e-4)
    # What own leaves to the others, they share with city.
    city_says = np.array([0.0499, 0.9, 0.05]) / 0.9999
    expected = 0.5 * np.array([0.1, 0.2, 0.1]) + 0.5 * 0.4 * city_says
    np.testing.assert_allclose(shown[:3], expected, atol=1e-4)


def test_a_member_counts_for_less_where_it_sees_no_class_of_the_students(images):
    own = constant([0.1, 0.2, 0.1, 0.6], "own")
    other = constant([0.01, 0.02, 0.03, 0.04, 0.9], "other")
    table = {name: index for index, name in enumerate(CLASS_NAMES)}
    teacher = load_teacher([own, Member(other, class_map=table)], class_names=CLASS_NAMES)
    expected = (np.array([0.1, 0.2, 0.1, 0.6]) + np.array([0.01, 0.02, 0.03, 0.04])) / 1.1
    np.testing.assert_allclose(np.exp(look(teacher, images))[0, 0, 0], expected, atol=1e-5)


def test_classes_that_nobody_knows_are_named():
    pair = [
        Member(constant([0.5, 0.5], "one"), class_map={"sky": 0, "road": 1}),
        Member(constant([0.5, 0.5], "two"), class_map={"road": 0, "car": 1}),
    ]
    with pytest.raises(ValueError, match=r"\['one', 'two'\].*\['fence'\]"):
        load_teacher(pair, class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match=r"Missing: \['car', 'fence'\]"):
        load_teacher(pair[0], class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match=r"'two' predicts 2 classes, the student 4.*class_map"):
        load_teacher([network("one"), constant([0.5, 0.5], "two")], class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match="have one of their own"):
        load_teacher(pair, {"sky": 0}, class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match=r"weights of the teachers \['one', 'two'\] are 0"):
        load_teacher(pair, weights=[0, 0], class_names=CLASS_NAMES)


# Fitted weights


class Drawn(Source):
    """Masks of random blocks, and frames whose pixels are 10 times the label."""

    def __init__(self, count=8):
        info = DatasetInfo("drawn", CLASS_NAMES, ((0, 0, 0),) * CLASSES)
        super().__init__(info, [f"frame_{number}" for number in range(count)])

    def read(self, index):
        mask = np.random.default_rng(index).integers(0, CLASSES, (HEIGHT // 4, WIDTH // 4), np.uint8)
        mask = mask.repeat(4, 0).repeat(4, 1)
        return np.repeat(10 * mask[..., None], 3, -1), mask


class Turned(Drawn):
    """In the first half of the frames the labels of fence and road are those of the other."""

    def read(self, index):
        image, mask = super().read(index)
        return image, mask if index >= 4 else np.uint8([0, 3, 2, 1])[mask]


def partly_blind(name, blind, sure=0.4):
    """Knows each label, nearly for certain, except that it says 'sky' to everything of the class `blind`."""
    image = keras.Input(SHAPE)
    ramps = keras.layers.Conv2D(3 * CLASSES, 1, activation="relu")
    head = keras.layers.Conv2D(CLASSES, 1, name="head")
    model = keras.Model(image, head(ramps(image)), name=name)
    # A hat of three ramps over each of the pixel values 0, 10, 20 and 30.
    kernel, bias = np.zeros((1, 1, 3, 3 * CLASSES)), np.zeros(3 * CLASSES)
    output = np.zeros((1, 1, 3 * CLASSES, CLASSES))
    for label in range(CLASSES):
        for place, (offset, slope) in enumerate(((-10, 1), (0, -2), (10, 1))):
            ramp = 3 * label + place
            kernel[0, 0, 0, ramp], bias[ramp] = 1, -10 * label - offset
            output[0, 0, ramp, 0 if label == blind else label] = sure * slope
    ramps.set_weights([kernel, bias])
    head.set_weights([output, np.zeros(CLASSES)])
    return model


def test_fitted_weights_leave_a_class_to_who_can_see_it():
    pair = [partly_blind("own", blind=1), partly_blind("city", blind=3)]
    source = Drawn()
    frames, masks = (np.stack(each) for each in zip(*source, strict=True))
    options = {"class_names": CLASS_NAMES}
    fitted = load_teacher(pair, weights="fit", held_out=source, **options)
    weights = fitted.weights(CLASSES)
    assert weights[0, 1] < 0.1 and weights[1, 3] < 0.1
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-3)
    equal = load_teacher(pair, **options)
    seen = tf.constant(frames, tf.float32)
    right = {
        name: np.take_along_axis(np.exp(look(each, seen)), masks[..., None].astype(int), -1)[..., 0]
        for name, each in (("equal", equal), ("fitted", fitted))
    }
    # Half of what the two say of a class that one is blind to is wrong.
    assert right["equal"][masks == 3].mean() < 0.6 and right["fitted"][masks == 3].mean() > 0.9
    found = fit_weights(equal, source)
    assert found.cross_entropy < found.before
    np.testing.assert_allclose(found.weights, weights)


def test_weights_that_do_no_better_elsewhere_are_not_taken():
    pair = [partly_blind("own", blind=1), partly_blind("city", blind=3)]
    found = fit_weights(load_teacher(pair, weights=[2, 1], class_names=CLASS_NAMES), Turned())
    assert found.cross_entropy >= found.before and "old weights" in str(found)
    np.testing.assert_allclose(found.weights, [[2] * 4, [1] * 4])


def test_frames_that_weights_cannot_be_fitted_on_are_refused():
    pair = load_teacher([network("one"), network("two")], class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match=r"two labelled images.*Received: 1 "):
        fit_weights(pair, Drawn(1))
    with pytest.raises(ValueError, match="unlabelled"):
        fit_weights(pair, WithoutLabels(Drawn()))
    with pytest.raises(ValueError, match="'fit' with held_out="):
        load_teacher([network("one"), network("two")], weights="fit")


# What is said of each


def test_preflight_shows_each_member_and_says_that_the_mean_is_worse():
    good, bad = partly_blind("good", None), partly_blind("bad", None, sure=1.2)
    # It takes every class for the next, and is surer.
    kernel, bias = bad.get_layer("head").get_weights()
    bad.get_layer("head").set_weights([np.roll(kernel, 1, -1), bias])
    source = Drawn()
    batches = list(evaluation_batches(source, (HEIGHT, WIDTH), 4))
    report = preflight([good, bad], network("student"), batches, source.info)
    assert list(report.member_scores) == ["good", "bad"]
    assert report.member_scores["good"].mean_iou > 0.99 > 0.2 > report.member_scores["bad"].mean_iou
    assert any("worse than its best member, 'good'" in str(finding) for finding in report.findings)
    assert "'good' alone: mean IoU 100.0%" in str(report)
    report = preflight([good, good], network("student"), batches, source.info)
    assert not any("best member" in str(finding) for finding in report.findings)


def test_a_mixture_and_its_members_are_measured_in_one_go():
    pair = [partly_blind("own", blind=1), partly_blind("city", blind=3)]
    source = Drawn()
    teacher = load_teacher(pair, class_names=CLASS_NAMES)
    mean, each = evaluate_members(teacher, ["own", "city"], source, (HEIGHT, WIDTH))
    for name, model in zip(("own", "city"), pair, strict=True):
        assert each[name] == evaluate(model, source)
    assert mean.iou == evaluate(Predictor(teacher), source).iou


# Feature layers


def test_a_feature_layer_is_that_of_its_member(images):
    own, other = network("own"), network("other", filters=3, shape=(*SMALL, 3), seed=2)
    blind = constant([0.25] * 4, "blind")
    expected = keras.Model(own.input, own.get_layer("stage").output).predict(images, verbose=0)
    teacher = load_teacher([own, blind])
    np.testing.assert_allclose(look(teacher, images, "stage"), expected, atol=1e-6)
    teacher = load_teacher([own, other])
    np.testing.assert_allclose(look(teacher, images, "own/stage"), expected, atol=1e-6)
    assert teacher.shapes(["other/stage"], SHAPE) == {"other/stage": (SMALL[0] // 2, SMALL[1] // 2, 3)}
    with pytest.raises(ValueError, match=r"\['own/stage', 'other/stage'\]"):
        teacher.feature_extractor(["stage"])
    with pytest.raises(ValueError, match="'nowhere' not found in any member"):
        teacher.feature_extractor(["nowhere"])


def test_members_of_one_name_are_numbered(images):
    teacher = load_teacher([network("same"), network("same", seed=4)])
    assert list(teacher.members) == ["same", "same_2"]
    assert look(teacher, images, "same_2/stage").shape[-1] == 6


def test_logits_and_features_come_in_one_pass_a_member(images):
    calls = [], []
    pair = [network(f"n{index}", seed=index, calls=calls[index]) for index in range(2)]
    run = load_teacher(pair).feature_extractor(["logits", "n0/stage", "n1/stage"])
    for noted in calls:
        noted.clear()
    run(tf.constant(images))
    assert [len(noted) for noted in calls] == [1, 1]


def test_only_members_that_are_asked_run(images):
    calls = [], [], []
    three = [network(f"n{index}", seed=index, calls=calls[index]) for index in range(3)]
    teacher = load_teacher(three)
    expected = teacher.feature_extractor(["logits", "n1/logits", "n2/stage"])(tf.constant(images))
    cases = [(["n1/logits"], [0, 1, 0]), (["n1/logits", "n2/stage"], [0, 1, 1]), (["logits"], [1, 1, 1])]
    for names, runs in cases:
        for noted in calls:
            noted.clear()
        found = teacher.feature_extractor(iter(names))(tf.constant(images))
        assert [len(noted) for noted in calls] == runs and set(found) == set(names)
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


# The text of --teacher


def test_the_text_says_where_and_how():
    own, city = parse_members(
        "runs/own (1).keras(name=own, size=96x128),city.tflite(class_map=maps/a-b.txt"
        ",windows=true,weight=0.5,scales=(0.75,1),normalize=((1,2,3),4),flip=False)"
    )
    assert own == Member("runs/own (1).keras", name="own", size=(96, 128))
    assert city == Member(
        "city.tflite",
        class_map="maps/a-b.txt",
        windows=True,
        weight=0.5,
        scales=(0.75, 1.0),
        normalize=((1, 2, 3), 4),
    )
    assert own.label == "own" and city.label == "city" and not city.is_plain
    assert parse_members("a.keras,b.keras") == [Member("a.keras"), Member("b.keras")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.keras(wieght=1)", "'wieght'.*Did you mean 'weight'"),
        ("a.keras(weight=-1)", "weight of teacher 'a'.*-1"),
        ("a.keras(weight=nan)", "weight of teacher 'a'.*nan"),
        ("a.keras(weight=much)", "weight=much of teacher 'a.keras' cannot be read. Expected a number"),
        ("a.keras(weight=1,weight=2)", "Cannot read 'weight=2'"),
        ("a.keras(windows)", "Cannot read 'windows'"),
        ("a.keras(windows=yes)", "Expected true or false"),
        ("a.keras(size=96)", "HEIGHTxWIDTH"),
        ("a.keras(size=0x96)", "size of teacher 'a'.*0"),
        ("a.keras(scales=small)", "scales=small"),
        ("a.keras(normalize=3)", r"\(mean, deviation\)"),
        ("a.keras,,b.keras", "no path"),
        ("a.keras,b.keras(weight=0.5", r"'b.keras\(weight=0.5'.* a '\)' is missing"),
    ],
)
def test_what_the_text_cannot_mean_is_said(text, words):
    with pytest.raises(ValueError, match=words) as raised:
        parse_members(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, -1], r"teachers \['small'\]"),
        ([1], "a number for each"),
        ([0, 0], r"\['large', 'small'\]"),
        ([1, float("nan")], r"\['small'\]"),
        (np.ones((2, 3)), "a row of 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, words):
    pair = [network("large"), network("small", shape=(*SMALL, 3))]
    with pytest.raises(ValueError, match=words):
        load_teacher(pair, weights=weights, class_names=CLASS_NAMES)
    with pytest.raises(ValueError, match="several teachers"):
        load_teacher(pair[0], weights=[1])


# On disk


class Noise(Source):
    """Random frames, finer than the student's."""

    def __init__(self):
        info = DatasetInfo("noise", CLASS_NAMES, ((0, 0, 0),) * CLASSES)
        super().__init__(info, [f"frame_{number}" for number in range(4)])

    def read(self, index):
        random = np.random.default_rng(index)
        size = (2 * HEIGHT, 2 * WIDTH)
        return random.integers(0, 256, (*size, 3), np.uint8), random.integers(0, CLASSES, size, np.uint8)


def test_a_mixture_is_recorded_once_and_trains_a_student(tmp_path):
    own = network("own")
    fine = network("fine", seed=2, shape=(2 * HEIGHT, 2 * WIDTH, 3))
    teacher = load_teacher([own, Member(fine, weight=0.5)])
    source, size = Noise(), (HEIGHT, WIDTH)
    cache = TeacherCache(tmp_path, teacher, source, size, ("logits", "own/stage"))
    # Frames reach each member as fine as it wants them.
    frames = np.stack([source[index][0] for index in range(4)]).astype("float32")
    theirs = softmax(fine.predict(frames, verbose=0))
    ours = softmax(resized(own.predict(resized(frames, size), verbose=0), (2 * HEIGHT, 2 * WIDTH)))
    expected = resized(np.log((ours + 0.5 * theirs) / 1.5), size)
    recorded = np.stack([cache.read(index)["logits"] for index in range(4)])
    np.testing.assert_allclose(recorded, expected, atol=5e-3)
    assert TeacherCache(tmp_path, teacher, source, size, ("logits", "own/stage")).added == 0

    terms = [Term("pixelwise(balanced=True)"), Term("hint", at=("own/stage", "stage"))]
    student = network("student", filters=4, seed=9)
    distiller = Distiller(cache, student, terms)
    distiller.compile("adam")
    batches = training_batches(source, size, 2, maps=cache, seed=0)
    history = distiller.fit(batches, epochs=1, steps_per_epoch=4, verbose=0).history
    assert np.isfinite(history["pixelwise"][0]) and np.isfinite(history["hint_stage"][0])


def test_a_member_that_cuts_windows_sees_the_images_as_large_as_they_are(tmp_path):
    kernel = tf.constant(np.random.default_rng(3).normal(0, 0.03, (3, 3, 3, CLASSES)), tf.float32)

    def square(images):
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    spec = tf.TensorSpec((1, HEIGHT, HEIGHT, 3), tf.float32)
    concrete = tf.function(square).get_concrete_function(spec)
    path = tmp_path / "square.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    own, cut = network("own"), Member(path, windows=True)
    source, size, large = Noise(), (HEIGHT, WIDTH), (2 * HEIGHT, 2 * WIDTH)
    frames = source[0][0][None].astype("float32")

    total, passes = np.zeros((1, *large, CLASSES)), np.zeros((1, *large, 1))
    for left in (0, 2 * WIDTH - 2 * HEIGHT):
        columns = slice(left, left + 2 * HEIGHT)
        logits = square(tf.image.resize(frames[:, :, columns], (HEIGHT, HEIGHT)))
        total[:, :, columns] += softmax(tf.image.resize(logits, (2 * HEIGHT, 2 * HEIGHT)))
        passes[:, :, columns] += 1
    theirs = total / passes
    ours = softmax(resized(own.predict(resized(frames, size), verbose=0), large))

    def recorded(name, members, **options):
        return TeacherCache(tmp_path / name, load_teacher(members), source, size, **options).read(0)["logits"]

    mixture = resized(np.log((ours + theirs) / 2), size)[0]
    np.testing.assert_allclose(recorded("mixture", [own, cut]), mixture, atol=2e-2)
    alone = resized(np.log(theirs), size)[0]
    np.testing.assert_allclose(recorded("alone", [cut]), alone, atol=2e-2)
    # A size that is given holds.
    assert np.abs(recorded("asked", [cut], teacher_size=size) - alone).max() > 0.1


def test_the_fingerprint_knows_weights_maps_and_sizes_and_not_the_order():
    one, two = network("one"), network("two", seed=3)
    table = dict(zip(CLASS_NAMES, (0, 1, 3, 2), strict=True))
    options = {"class_names": CLASS_NAMES}
    known = [
        load_teacher([one, two], **options),
        load_teacher([one, Member(two, weight=2)], **options),
        load_teacher([Member(one, weight=2), two], **options),
        load_teacher([one, Member(two, class_map=table)], **options),
        load_teacher([one, Member(two, size=SMALL)], **options),
        load_teacher([Member(one, name="two"), Member(two, name="one")], **options),
    ]
    prints = [teacher.fingerprint() for teacher in known]
    assert all(first != second for first, second in itertools.combinations(prints, 2))
    assert load_teacher([Member(two, weight=2), one], **options).fingerprint() == prints[1]
