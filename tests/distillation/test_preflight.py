"""Every fault that keeps distillation from working is built and must be named; without it all is quiet."""

import json
import math
import random

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import HEIGHT, IGNORE, SHAPE, WIDTH, Count, network

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo
from tfsegkd.distillation import Term, load_teacher, parse_terms, preflight
from tfsegkd.distillation.diagnostics.scores import Tally, likely_order, output_kind, untrained_layers
from tfsegkd.distillation.teachers import Teacher
from tfsegkd.losses import DistillationLoss

layers = keras.layers
# No two classes trade places when red and blue do.
COLORS = np.array([[230, 60, 30], [200, 200, 40], [90, 160, 60], [60, 60, 60]], np.float32)
INFO = DatasetInfo("colors", ("red", "yellow", "green", "grey"), tuple(map(tuple, COLORS.astype(int))))
CLASSES = len(COLORS)
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def make_batches(count=2, size=3, seed=0, labels=CLASSES):
    """Noisy colors by class in blocks, a tenth of the pixels void."""
    draw = np.random.default_rng(seed)
    batches = []
    for _ in range(count):
        blocks = draw.integers(0, labels, (size, HEIGHT // 4, WIDTH // 4))
        masks = blocks.repeat(4, 1).repeat(4, 2).astype("int32")
        images = np.clip(COLORS[masks] + draw.normal(0, 15, (*masks.shape, 3)), 0, 255).astype("float32")
        masks[draw.random(masks.shape) < 0.1] = IGNORE
        batches.append((images, masks))
    return batches


def painter(before=None, after=None, name="painter", shape=SHAPE):
    """A teacher that knows the colors; `before` and `after` are done to its images and its logits."""
    images = keras.Input(shape, name="image")
    x = layers.Lambda(before, name="before")(images) if before else images
    known = layers.Conv2D(CLASSES, 1, name="head")
    x = known(x)
    # The nearest color has the highest logit.
    known.set_weights([2 * COLORS.T[None, None] / 2000, -np.sum(COLORS**2, 1) / 2000])
    x = layers.Lambda(after, name="after")(x) if after else x
    return keras.Model(images, x, name=name)


def blind_to_green():
    return painter(after=lambda x: x / 10 - tf.constant([0.0, 0, 1.5, 0]))


def student(**options):
    return network("student", 4, **options)


def checked(teacher=None, pupil=None, batches=None, terms=None, **options):
    teacher = painter() if teacher is None else teacher
    return preflight(teacher, pupil or student(), batches or make_batches(), INFO, terms, **options)


def only(report, level, *words):
    """The one finding of `report`, which is of `level` and says all `words`."""
    assert [finding.level for finding in report.findings] == [level], str(report)
    text = str(report.findings[0])
    assert all(word in text for word in words), text
    assert report.ok == (level != "error")
    return report.findings[0]


# Figures.


def test_a_good_teacher_passes():
    report = checked(terms=[Term("pixelwise")])
    assert report.findings == () and report.ok
    assert report.teacher_score.mean_iou > 0.95
    report.raise_for_errors()


def test_the_scores_are_those_of_plain_loops():
    teacher, batches = painter(), make_batches()
    matrix, entropy = np.zeros((CLASSES, CLASSES)), []
    for images, masks in batches:
        logits = teacher.predict(images, verbose=0).astype("float64")
        for place in np.argwhere(masks != IGNORE):
            scores, label = logits[tuple(place)], masks[tuple(place)]
            matrix[label, np.argmax(scores)] += 1
            entropy.append(np.log(np.sum(np.exp(scores - scores.max()))) + scores.max() - scores[label])

    def mean_iou(counts):
        found = []
        for k in range(CLASSES):
            union = counts[k].sum() + counts[:, k].sum() - counts[k, k]
            found.append(counts[k, k] / union)
        return np.mean(found)

    report = checked(teacher, batches=batches)
    np.testing.assert_allclose(report.teacher_score.mean_iou, mean_iou(matrix))
    np.testing.assert_allclose(report.teacher_score.cross_entropy, np.mean(entropy), rtol=1e-5)
    share = matrix.sum(1) / matrix.sum()
    np.testing.assert_allclose(report.random_baseline.cross_entropy, -np.sum(share * np.log(share)))
    blind = np.outer(share, matrix.sum(0)) / 1.0
    np.testing.assert_allclose(report.random_baseline.mean_iou, max(mean_iou(blind), share.max() / CLASSES))
    assert report.uniform_cross_entropy == math.log(CLASSES)
    assert report.num_images == 6


def test_the_random_baseline_is_at_least_the_commonest_class():
    tally = Tally(3)
    # Always class 1, which has 30 of 100 pixels; class 0 has 60.
    tally.matrix[:] = [[0, 60, 0], [0, 30, 0], [0, 10, 0]]
    np.testing.assert_allclose(tally.random_baseline().mean_iou, 0.6 / 3)


# Teachers that know nothing, or something else.


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_untrained_teacher_is_refused(seed):
    report = checked(network("teacher", 6, seed=seed))
    only(report, "error", "Teacher 'teacher' does no better", "1 of 1 layers")
    with pytest.raises(ValueError, match=r"\n- Teacher 'teacher' does no better"):
        report.raise_for_errors()


def test_a_teacher_that_is_sure_of_one_class_is_refused():
    constant = painter(after=lambda x: 0 * x + tf.constant([9.0, 0, 0, 0]))
    only(checked(constant), "error", "random baseline")


def test_a_teacher_that_is_often_right_but_far_too_sure_is_warned_of():
    # Right about half of the image, sure of the wrong class in the other half.
    wide = tf.reshape(tf.range(WIDTH) < WIDTH // 2, [1, 1, WIDTH, 1])
    teacher = painter(after=lambda x: 50 * tf.where(wide, x, tf.roll(x, 1, -1)))
    only(checked(teacher), "warning", "is overconfident", "temperature")


@pytest.mark.parametrize(
    ("before", "fix"),
    [
        (lambda x: x * 255, "normalize=(0, 255)"),
        (lambda x: (x + 1) * 127.5, "normalize=(127.5, 127.5)"),
        (lambda x: x * STD + MEAN, "normalize=((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))"),
        (lambda x: x[..., ::-1], "model(images[..., ::-1], training=False)"),
        (
            lambda x: tf.add(x, [103.939, 116.779, 123.68])[..., ::-1],
            "model(images[..., ::-1] - (103.939, 116.779, 123.68), training=False)",
        ),
    ],
)
def test_other_preprocessing_is_named_and_the_fix_works(before, fix):
    finding = only(checked(painter(before)), "error", "other preprocessing")
    assert fix in finding.fix
    code = finding.fix.removeprefix("Load it so: ").removesuffix(".")
    cured = eval(code, {"load_teacher": load_teacher, "model": painter(before)})
    assert checked(cured).findings == ()


def test_a_good_teacher_is_not_tried_with_other_preprocessing():
    calls = []
    images = keras.Input(SHAPE)
    teacher = keras.Model(images, painter()(Count(calls)(images)))
    checked(teacher)
    assert len(calls) == 2 + 1, "two batches, and one image by itself"


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [1, 2, 3, 0]])
def test_another_class_order_is_named(order):
    teacher = painter(after=lambda x: tf.gather(x, order, axis=-1))
    finding = only(checked(teacher), "error", "classes in another order")
    for channel, label in enumerate(order):
        place = f"'{INFO.class_names[label]}' in place of '{INFO.class_names[channel]}'"
        assert (place in finding.received) == (channel != label)
    code = finding.fix.removeprefix("Load it so: ").removesuffix(".")
    assert checked(eval(code, {"load_teacher": load_teacher, "model": teacher})).findings == ()


def test_one_class_taken_for_another_is_no_order():
    assert checked(blind_to_green()).findings == ()
    # Nor where the other class does not occur, so that nothing speaks against it.
    only(checked(blind_to_green(), batches=make_batches(labels=3)), "note", "no pixel of ['grey']")


def test_likely_order_leaves_unknown_classes_where_they_are():
    matrix = np.zeros((5, 5), int)
    matrix[0, 4], matrix[4, 0] = 50, 40
    order, moved = likely_order(matrix)
    assert order.tolist() == [4, 1, 2, 3, 0] and moved == [(0, 4), (4, 0)]


# What comes out.


def test_another_number_of_classes():
    only(
        checked(painter(after=lambda x: tf.concat([x] * 5, -1)[..., 1:])),
        "error",
        "number of classes",
        "Expected 4",
        "Received: 19",
    )
    only(checked(pupil=student(classes=5)), "error", "Student 'student'", "Expected 4", "Received: 5")


def test_a_softmax_at_the_end_is_left_out():
    plain, report = student(), checked(painter(after=tf.nn.softmax))
    assert report.findings == ()
    expected = checked().teacher_score.cross_entropy
    assert report.teacher_score.cross_entropy == pytest.approx(expected, abs=1e-4)
    pupil = keras.Model(plain.inputs, layers.Softmax()(plain.output), name="student")
    softened = checked(pupil=pupil)
    assert softened.student_score.cross_entropy == pytest.approx(
        checked(pupil=plain).student_score.cross_entropy, abs=1e-4
    )


def test_probabilities_are_no_logits():
    class Careless(Teacher):
        name = "careless"

        def feature_extractor(self, names):
            model = painter(after=tf.nn.softmax)
            return lambda images: {"logits": model(images)}

    only(checked(Careless()), "error", "Teacher 'careless' outputs probabilities", "tf.math.log")


def test_log_probabilities_are_fine():
    assert checked(painter(after=tf.nn.log_softmax)).findings == ()


def test_decisions_are_no_logits():
    hard = painter(after=lambda x: tf.one_hot(tf.argmax(x, -1), CLASSES))
    only(checked(hard), "error", "one-hot labels", "argmax")
    flat = painter(after=lambda x: tf.argmax(x, -1))
    only(checked(flat), "error", "must output logits (N, H, W, C)")
    flat = painter(after=lambda x: tf.cast(tf.argmax(x, -1)[..., None], tf.float32))
    only(checked(flat), "error", "number of classes", "Received: 2", "argmax")


def test_a_sigmoid_at_the_end_is_left_out_and_one_that_cannot_be_seen_is_warned_of():
    assert checked(painter(after=tf.sigmoid)).findings == ()
    known = painter()
    only(checked(lambda images: tf.sigmoid(known(images))), "warning", "from 0 to 1")


def test_output_kinds():
    logits = np.random.default_rng(0).normal(0, 3, (1, 4, 4, 3))
    soft = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert output_kind(logits) == output_kind(np.log(soft)) == output_kind(soft * 100) == "logits"
    assert output_kind(soft) == output_kind(soft.astype("float16")) == "probabilities"
    assert output_kind((soft == soft.max(-1, keepdims=True)) * 1.0) == "one-hot"
    assert output_kind(1 / (1 + np.exp(-logits))) == output_kind(np.zeros((1, 2, 2, 3))) == "unit"


def test_outputs_of_another_size():
    class Coarse(Teacher):
        def feature_extractor(self, names):
            return lambda images: {"logits": painter()(images)[:, ::2, ::2]}

    only(checked(Coarse()), "error", "Teacher 'teacher'", "another shape", "(3, 8, 12, 4)")
    # A function's logits are brought to the size of the images.
    assert checked(lambda images: painter()(images)[:, ::2, ::2]).ok
    plain = student()
    pupil = keras.Model(plain.inputs, layers.Cropping2D(1)(plain.output), name="student")
    only(checked(pupil=pupil), "error", "Student 'student'", "another shape", "(3, 14, 22, 4)")


def test_images_of_another_size():
    only(checked(painter(shape=(32, 24, 3))), "error", "Teacher 'painter' takes", "(32, 24)", "at_size")
    only(checked(pupil=student(shape=(32, 24, 3))), "error", "Student 'student' takes", "at_size")
    assert checked(painter(shape=(None, None, 3))).ok


def test_outputs_that_are_not_finite():
    only(checked(painter(after=lambda x: x / tf.nn.relu(x[..., :1]))), "error", "not finite", "Teacher")
    pupil = student()
    pupil.get_layer("head").bias.assign(np.full(CLASSES, np.nan))
    only(checked(pupil=pupil), "error", "not finite", "Student")


def test_an_image_must_not_depend_on_its_neighbours():
    images = keras.Input(SHAPE)
    norm = layers.BatchNormalization(momentum=0.0)
    model = keras.Model(images, painter()(norm(images)))
    # Statistics of these images, so that only the mode makes the difference.
    model(make_batches()[1][0], training=True)
    norm.beta.assign(norm.moving_mean)
    norm.gamma.assign(tf.sqrt(norm.moving_variance))
    only(checked(lambda images: model(images, training=True)), "error", "other images in the batch", "=False")
    assert checked(lambda images: model(images, training=False)).findings == ()
    by_image = painter(after=lambda x: x / tf.math.reduce_std(x, [1, 2, 3], keepdims=True))
    assert checked(by_image).findings == ()


# Weights.


def test_a_teacher_that_knows_much_but_was_half_loaded_is_warned_of():
    def built(norms):
        images = keras.Input(SHAPE)
        x = images
        for number, loaded in enumerate(norms):
            norm = layers.BatchNormalization(name=f"norm{number}")
            x = norm(x)
            norm.moving_mean.assign_add(tf.fill(norm.moving_mean.shape, 0.1 * loaded))
        return keras.Model(images, painter()(x), name="loaded")

    only(checked(built([1, 0, 0, 1])), "warning", "seem to have been loaded", "2 of 4")
    assert checked(built([1, 0, 1, 1])).findings == ()


def test_fresh_layers():
    model = network("any")
    assert untrained_layers(model) == (1, 1)
    model.get_layer("norm").gamma.assign_add(tf.ones(6))
    assert untrained_layers(model) == (0, 1)
    plain = keras.Sequential([layers.Conv2D(2, 1, input_shape=SHAPE), layers.Conv2D(2, 1)])
    assert untrained_layers(plain) == (2, 2)
    plain.layers[0].bias.assign([0.0, 0.1])
    assert untrained_layers(plain) == (1, 2)
    assert untrained_layers(keras.Sequential([layers.Conv2D(2, 1, use_bias=False, input_shape=SHAPE)])) == (
        0,
        0,
    )


def test_a_student_from_nothing_with_few_images_is_noted():
    only(checked(num_training_images=367), "note", "has random weights", "367")
    assert checked(num_training_images=20000).findings == ()
    pupil = student()
    pupil.get_layer("norm").moving_mean.assign_add(tf.ones(4))
    assert checked(pupil=pupil, num_training_images=367).findings == ()


def test_a_student_without_the_weights_that_exist_is_warned_of():
    pupil = models.build("lite_unet(stages=4, width=8, weights=None)", CLASSES, SHAPE)
    only(checked(pupil=pupil), "warning", "'lite_unet' has random weights", "weights=imagenet")
    pupil.get_layer("stride8_project").moving_mean.assign_add(tf.ones(40))  # something has been loaded
    assert checked(pupil=pupil).findings == ()


def test_a_student_as_good_as_its_teacher_is_warned_of():
    weaker = blind_to_green()
    only(checked(weaker, painter(name="pupil")), "warning", "'pupil' is already as good as its teacher")
    assert checked(painter(), weaker).findings == ()


# Batches.


def altered(change):
    batches = make_batches()
    for images, masks in batches:
        change(images, masks)
    return batches


def test_void_that_is_not_masked_is_refused():
    def change(images, masks):
        masks[masks == IGNORE] = 11

    finding = only(checked(batches=altered(change)), "error", "no class", "ignore_label")
    assert finding.received == "[11]" and "0 to 3, or 255" in finding.expected


def test_unlabelled_pixels_are_fine():
    def change(images, masks):
        masks[:, :4] = -1

    report = checked(batches=altered(change), terms=[Term("pixelwise")])
    assert report.findings == () and report.teacher_score.mean_iou > 0.95


def test_batches_of_nothing_but_void_are_warned_of():
    batches = make_batches()
    batches[0][1][:] = IGNORE
    only(checked(batches=batches), "warning", "1 of 2 batches", "void")
    batches[1][1][:] = IGNORE
    report = checked(batches=batches, terms=[Term("pixelwise")])
    assert [finding.level for finding in report.findings] == ["warning"] * 3 and report.teacher_score is None
    assert "2 of 2 batches" in str(report) and "cannot be scored" in str(report)


def test_a_class_that_does_not_occur_is_noted():
    only(checked(batches=make_batches(labels=3)), "note", "no pixel of ['grey']")


def test_images_that_are_no_pixels_are_warned_of():
    batches = [(images / 255, masks) for images, masks in make_batches()]
    report = checked(painter(lambda x: x * 255), batches=batches)
    only(report, "warning", "do not look like pixels", "from 0 to 1")


# Terms.


class Sum(DistillationLoss):
    """A loss that forgot to divide by the pixels."""

    def compare(self, teacher, student, valid, labels, images):
        return tf.reduce_sum(tf.square(teacher - student), [1, 2, 3])


class Log(DistillationLoss):
    """A loss without a floor under its logarithm."""

    def compare(self, teacher, student, valid, labels, images):
        return tf.reduce_mean(tf.math.log(student), [1, 2, 3])


def test_the_strength_of_a_term_is_its_gradient_in_training_mode():
    teacher, pupil, batches = painter(), student(), make_batches()
    report = checked(teacher, pupil, batches, [Term("pixelwise(temperature=2)", 0.5)])
    images, masks = batches[0]
    valid = tf.cast(masks != IGNORE, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        teacher_log, student_log = (
            tf.nn.log_softmax(logits / 2) for logits in (teacher(images), pupil(images, training=True))
        )
        divergence = tf.reduce_sum(tf.exp(teacher_log) * (teacher_log - student_log), -1) * valid
        shown = tf.reduce_mean(4 * tf.reduce_sum(divergence, [1, 2]) / tf.reduce_sum(valid, [1, 2]))
        logits = tf.nn.log_softmax(pupil(images, training=True))
        hits = tf.reduce_sum(tf.one_hot(masks, CLASSES) * logits, -1) * valid
        task = -tf.reduce_mean(tf.reduce_sum(hits, [1, 2]) / tf.reduce_sum(valid, [1, 2]))

    def norm(value):
        squares = [np.sum(np.square(g)) for g in tape.gradient(value, pupil.trainable_variables)]
        return math.sqrt(sum(squares))

    first, second = report.gradients
    assert (first.name, second.name) == ("task_loss", "pixelwise")
    np.testing.assert_allclose([first.value, second.value], [task, 0.5 * shown], rtol=1e-4)
    np.testing.assert_allclose(
        [first.gradient_norm, second.gradient_norm], [norm(task), 0.5 * norm(shown)], rtol=1e-3
    )
    np.testing.assert_allclose(second.equal_weight, norm(task) / norm(shown), rtol=1e-3)


def test_a_term_with_too_high_a_weight_is_warned_of_and_the_fix_works():
    finding = only(checked(terms=[Term(Sum(name="sum"))]), "warning", "'sum' is too high", "equal")
    weight = float(finding.fix.split()[2])
    report = checked(terms=[Term(Sum(name="sum"), weight)])
    assert report.findings == ()
    np.testing.assert_allclose(
        report.gradients[1].gradient_norm, report.gradients[0].gradient_norm, rtol=0.01
    )


def test_a_term_may_have_ten_times_the_gradient_norm_and_not_fifty():
    equal = checked(terms=[Term("pixelwise")]).gradients[1].equal_weight
    loud = checked(terms=[Term("pixelwise", 50 * equal)])
    only(loud, "warning", "'pixelwise' is too high", "50 times", f"weight {equal:.3g} instead of")
    assert checked(terms=[Term("pixelwise", 10 * equal)]).findings == ()


def test_a_term_that_nobody_hears_is_warned_of():
    only(checked(terms=[Term("pixelwise", 1e-6)]), "warning", "'pixelwise' is too low")
    assert checked(terms=[Term("pixelwise", 0.0)]).findings == ()
    pupil = student()
    for name in "conv", "norm":
        pupil.get_layer(name).trainable = False
    only(checked(pupil=pupil, terms=parse_terms(["hint@head:stage"])), "warning", "has no gradient")


def test_a_term_that_is_not_finite_is_refused():
    report = checked(terms=[Term(Log(name="log"))])
    only(report, "error", "'log' is not finite")
    assert json.loads(report.to_json())["gradients"][1]["value"] is None


def test_terms_wait_until_the_rest_is_right():
    assert checked(network("teacher", 6, seed=1), terms=[Term("pixelwise")]).gradients == ()


def test_nothing_is_changed_and_a_second_call_finds_the_same():
    teacher, pupil, norm = painter(), student(), layers.BatchNormalization()
    pupil.get_layer("norm").moving_mean.assign_add(tf.ones(4))
    terms = parse_terms(["mgd@head:stage", "cirkd@head:stage", "holistic(width=4)"])
    terms.append(Term("hint", at=("head", "enlarge"), adapter=norm))
    before = pupil.get_weights()
    keras.utils.set_random_seed(7)
    expected = tf.random.uniform([3]).numpy(), layers.Dense(3).kernel_initializer([3, 3]).numpy()
    keras.utils.set_random_seed(7)
    state = random.getstate()
    first = checked(teacher, pupil, terms=terms)
    np.testing.assert_array_equal(tf.random.uniform([3]), expected[0])
    np.testing.assert_array_equal(layers.Dense(3).kernel_initializer([3, 3]), expected[1])
    assert random.getstate() == state
    assert all(np.array_equal(one, other) for one, other in zip(before, pupil.get_weights(), strict=True))
    assert not any(layer.built for layer in (norm, *(term.loss for term in terms)))
    tf.random.set_seed(8)
    assert first.gradients and checked(teacher, pupil, terms=terms).to_json() == first.to_json()


# Recorded teachers.


class Recorded(Teacher):
    name, recorded, size = "recorded", True, None

    def feature_extractor(self, names):
        raise ValueError("what it shows comes with the batch")


def test_a_recorded_teacher_is_judged_by_what_comes_with_the_batches():
    def recorded(teacher, layer_name="logits"):
        return [
            ({"images": images, "teacher": {layer_name: teacher(images)}}, masks)
            for images, masks in make_batches()
        ]

    report = checked(Recorded(), batches=recorded(painter()), terms=[Term("pixelwise")])
    assert report.findings == () and report.teacher_score == checked().teacher_score
    assert report.gradients == checked(terms=[Term("pixelwise")]).gradients
    untrained = recorded(network("teacher", 6, seed=1))
    only(checked(Recorded(), batches=untrained), "error", "'recorded' does no better")
    hints = recorded(painter(), "stage")
    only(checked(Recorded(), batches=hints), "note", "cannot be scored")
    with pytest.raises(ValueError, match=r"do not contain the layers \['logits'\]"):
        checked(Recorded(), batches=hints, terms=[Term("pixelwise")])


# The report, and what is asked for wrongly.


def test_the_report_in_words_and_as_json():
    report = checked(network("teacher", 6, seed=1), batches=make_batches(labels=3))
    assert [finding.level for finding in report.findings] == ["error", "note"]
    lines = str(report).split("\n")
    assert lines[0] == "Preflight of 'teacher' → 'student' on 6 images"
    assert [line.strip().split(":")[0] for line in lines[1:]] == [
        "teacher",
        "student",
        "random baseline",
        "error",
        "note",
    ]
    held = json.loads(report.to_json())
    assert held["findings"][1]["level"] == "note"
    assert held["teacher_score"]["mean_iou"] == report.teacher_score.mean_iou
    assert "nothing wrong" in str(checked())


def test_at_most_max_batches_are_taken():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield make_batches(1)[0]

    assert checked(batches=endless(), max_batches=3).num_images == 9
    assert len(taken) == 3


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"student.*functional tf_keras model"):
        preflight(painter(), keras.Sequential(), make_batches(), INFO)
    with pytest.raises(ValueError, match="at least one batch"):
        preflight(painter(), student(), [], INFO)
    images, masks = make_batches()[0]
    for wrong in (masks[:, ::2], masks.astype("float32")):
        with pytest.raises(ValueError, match="integer masks"):
            checked(batches=[(images, wrong)])
