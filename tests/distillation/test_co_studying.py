"""What each of the two learns in each phase, against a training loop written out."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import IGNORE, batch, network, same, statistics

from tfsegkd._keras import keras
from tfsegkd.distillation import CoStudying, Distiller, StudyPhases, parse_terms

LOGITS = "pixelwise(temperature=2)*0.5"
FEATURE = "hint(normalize=False)@stage:stage*0.25"
RATE, TEACHER_RATE = 0.1, 0.02


def pair(calls=None):
    """A teacher of more channels than the student, so that features need an adapter."""
    return network("teacher", 8, seed=1, calls=calls), network("student", 6, seed=2)


def ready(studies, phase=None, accumulate_steps=1):
    options = {"accumulate_steps": accumulate_steps}
    if isinstance(studies, CoStudying):
        options["teacher_optimizer"] = keras.optimizers.SGD(TEACHER_RATE)
    studies.compile(keras.optimizers.SGD(RATE), **options)
    if phase:
        studies.phase = phase
    return studies


def step(studies, seed=0):
    return studies.train_on_batch(*batch(4, seed), return_dict=True)


def by_hand(model, images, other, masks):
    """A step of SGD on the images' means of cross-entropy plus 0.5·4·KL(other ‖ model) at temperature 2."""
    valid = tf.cast(masks != IGNORE, tf.float32)
    count = tf.maximum(tf.reduce_sum(valid, [1, 2]), 1)
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        labels = np.where(masks == IGNORE, 0, masks)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        said, own = tf.nn.log_softmax(other / 2), tf.nn.log_softmax(logits / 2)
        divergence = 4 * tf.reduce_sum(tf.exp(said) * (said - own), -1)
        loss = tf.reduce_mean(tf.reduce_sum(valid * (entropy + 0.5 * divergence), [1, 2]) / count)
    rate = RATE if model.name == "student" else TEACHER_RATE
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        weight.assign_sub(rate * gradient)


def test_both_learn_from_each_other_as_the_paper_says():
    (teacher, student), (own_teacher, own_student) = pair(), pair()
    studies = ready(CoStudying(teacher, student, parse_terms([LOGITS])), "co_studying")
    logs = step(studies)
    images, masks = batch(4)
    # What each was before the step is what the other learns from, both in training mode.
    logits = {}
    for model in (own_teacher, own_student):
        before = keras.models.clone_model(model)
        before.set_weights(model.get_weights())
        logits[model.name] = before(images, training=True)
    by_hand(own_student, images, logits["teacher"], masks)
    by_hand(own_teacher, images, logits["student"], masks)
    for one, other in ((student, own_student), (teacher, own_teacher)):
        for weight, expected in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(weight, expected, atol=2e-6, err_msg=weight.name)
    assert logs["teacher_loss"] == pytest.approx(logs["teacher_task_loss"] + logs["teacher_pixelwise"])


def test_at_first_the_student_learns_from_the_labels_alone():
    shown = []
    teacher, student = pair(shown)
    alone = network("student", 6, seed=2)
    before = teacher.get_weights()
    logs = step(ready(CoStudying(teacher, student, parse_terms([LOGITS]))))
    step(ready(Distiller(None, alone)))
    assert same(student.get_weights(), alone.get_weights())
    assert same(teacher.get_weights(), before) and not shown, "nobody looks at the teacher"
    assert "pixelwise" not in logs and "teacher_loss" not in logs


def test_at_first_adapters_learn_and_do_not_pull():
    shown = []
    teacher, student = pair(shown)
    alone = network("student", 6, seed=2)
    studies = ready(CoStudying(teacher, student, parse_terms([LOGITS, FEATURE])))
    before = teacher.get_weights()
    (adapter,) = (weight for weight in studies.trainable_weights if "project/kernel" in weight.name)
    step(studies)
    adapter.assign_add(tf.ones_like(adapter))  # away from its start, the best linear map
    first, logs = adapter.numpy(), [step(studies)["hint_stage"] for _ in range(3)]
    distiller = ready(Distiller(None, alone))
    for _ in range(4):
        step(distiller)
    for one, other in zip(student.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert not np.allclose(adapter, first) and logs[-1] < logs[0]
    assert same(teacher.get_weights(), before) and shown == [False] * 5, "4 steps and the adapter's start"


def test_a_tutor_stays_as_it_is():
    shown = []
    (teacher, student), (_, other) = pair(shown), pair()
    before = teacher.get_weights()
    logs = step(ready(CoStudying(teacher, student, parse_terms([LOGITS])), "tutoring"))
    want = step(ready(Distiller(network("teacher", 8, seed=1, calls=[]), other, parse_terms([LOGITS]))))
    assert logs == pytest.approx(want) and same(student.get_weights(), other.get_weights())
    assert same(teacher.get_weights(), before) and shown == [False]


class Teachers(keras.callbacks.Callback):
    """Notes phase and teacher after each epoch."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher, self.found = teacher, []

    def on_epoch_end(self, epoch, logs=None):
        self.found.append((self.model.phase, *(a.copy() for a in self.teacher.get_weights())))


def test_phases_follow_the_epochs():
    shown = []
    teacher, student = pair(shown)
    studies, noted = ready(CoStudying(teacher, student, parse_terms([LOGITS, FEATURE]))), Teachers(teacher)
    images, masks = batch(4)
    first, running = teacher.get_weights(), statistics(teacher)
    studies.fit(images, masks, 4, epochs=4, verbose=0, callbacks=[StudyPhases(1, 3), noted])
    phases, weights = [one[0] for one in noted.found], [first, *(one[1:] for one in noted.found)]
    assert phases == ["self_studying", "co_studying", "co_studying", "tutoring"]
    changed = [not same(one, other) for one, other in itertools.pairwise(weights)]
    assert changed == [False, True, True, False]
    passes = "one for the adapter's start and one a step, in training only while it learns"
    assert shown == [False, False, True, True, False], passes
    assert not same(running, statistics(teacher))
    # Back again, as a training that is taken up where it was.
    studies.fit(images, masks, 4, initial_epoch=2, epochs=3, verbose=0, callbacks=[StudyPhases(1, 3)])
    assert studies.phase == "co_studying" and shown[5:] == [True]


def test_what_only_the_student_can_learn_by_is_not_the_teacher_s():
    studies = CoStudying(*pair(), parse_terms([LOGITS, "mgd*0.1", FEATURE]))
    names = {metric.name for metric in studies.metrics if metric.name.startswith("teacher_")}
    assert names == {"teacher_loss", "teacher_task_loss", "teacher_pixelwise"}


def test_small_batches_make_one_step_of_both():
    teacher, student = pair()
    studies = ready(CoStudying(teacher, student, parse_terms([LOGITS])), "co_studying", accumulate_steps=2)
    kernels = [model.get_layer("conv").kernel for model in (teacher, student)]
    first = [kernel.numpy() for kernel in kernels]
    step(studies, 0)
    assert same(first, kernels)
    step(studies, 1)
    assert not any(np.array_equal(one, other) for one, other in zip(first, kernels, strict=True))
    assert int(studies.teacher_optimizer.iterations) == int(studies.optimizer.iterations) == 1


@pytest.mark.parametrize(
    ("specs", "options", "message"),
    [
        ([FEATURE], {}, "'hint_stage'.*Add 'pixelwise"),
        ([], {}, r"Received: \[\]"),
        ([LOGITS], {"task_weight": 0.0}, "task_weight must be"),
    ],
)
def test_what_cannot_be_studied_together_is_refused(specs, options, message):
    with pytest.raises(ValueError, match=message):
        CoStudying(*pair(), parse_terms(specs), **options)


def test_a_teacher_that_cannot_learn_is_refused():
    with pytest.raises(TypeError, match=r"functional.*Ensemble"):
        CoStudying([network("a", seed=1), network("b", seed=2)], network("student"))
    with pytest.raises(ValueError, match="phase must be one of"):
        CoStudying(*pair()).phase = "graduation"
    with pytest.raises(ValueError, match="co_studying_at"):
        StudyPhases(5, 3)
