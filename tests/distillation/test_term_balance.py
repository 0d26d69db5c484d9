"""Terms at chosen shares of the labels' gradient, against gradients taken one by one."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_networks import CLASSES, IGNORE, SHAPE, batch, layers, network, same

from tfsegkd._keras import keras
from tfsegkd.distillation import Balance, Distiller, Term, WarmUp
from tfsegkd.distillation.features import shared_feature
from tfsegkd.losses import SegmentationLoss

TERMS = (("pixelwise(temperature=2)", None), ("attention", ("stage", "stage")))


def distiller(shares=(1.0, 0.5), seed=2, optimizer=None, terms=TERMS, **options):
    terms = [Term(loss, share, at) for (loss, at), share in zip(terms, shares, strict=True)]
    options = {"balance": True, **options}
    trainer = Distiller(network("teacher", seed=1), network("student", 4, seed=seed), terms, **options)
    trainer.compile(optimizer or keras.optimizers.SGD(0.01))
    return trainer


def norms(student, teacher, terms, images, masks, feature):
    """The norm of each part's gradient at a feature: the network is cut there, one part at a time."""
    names = [layer.name for layer in student.layers]
    begin = keras.Input(student.get_layer(feature).output.shape[1:])
    x, made = begin, {feature: begin}
    for layer in student.layers[names.index(feature) + 1 :]:
        x = made[layer.name] = layer(x)
    rest = keras.Model(begin, {"stage": made["stage"], "logits": x})
    cut = keras.Model(student.input, student.get_layer(feature).output)
    taught = keras.Model(
        teacher.input, {"stage": teacher.get_layer("stage").output, "logits": teacher.output}
    )
    known, value = taught(images), tf.constant(cut(images, training=True))
    found = []
    for term in (None, *terms):
        with tf.GradientTape() as tape:
            tape.watch(value)
            shown = rest(value, training=True)
            if term is None:
                loss = SegmentationLoss(IGNORE)(masks, shown["logits"])
            else:
                layer_name = term.layers[1]
                valid = tf.cast(masks != IGNORE, tf.float32)
                loss = tf.reduce_mean(
                    term.loss(known[layer_name], shown[layer_name], labels=masks, valid=valid, images=images)
                )
        found.append(float(tf.norm(tape.gradient(loss, value))))
    return found


def test_at_the_start_each_term_has_its_share_of_the_labels_gradient():
    images, masks = map(tf.constant, batch())
    # As after the step: BatchNorm has taken its statistics from the batch either way.
    trainer = distiller()
    before = network("student", 4, seed=2)
    task, *each = norms(before, trainer.teacher, trainer.terms, images, masks, "stage")
    logs = trainer.train_on_batch(images, masks, return_dict=True)
    assert logs["pixelwise_factor"] == pytest.approx(task / each[0], rel=1e-3)
    assert logs["attention_stage_factor"] == pytest.approx(task / each[1], rel=1e-3)
    # What is logged of a term is what it adds: its share, times the factor, times its value.
    plain = distiller(balance=False)
    logs_plain = plain.train_on_batch(images, masks, return_dict=True)
    for name in ("pixelwise", "attention_stage"):
        assert logs[name] == pytest.approx(logs[f"{name}_factor"] * logs_plain[name], rel=1e-4)
    assert logs["loss"] == pytest.approx(
        logs["task_loss"] + logs["pixelwise"] + logs["attention_stage"], rel=1e-5
    )


def test_the_step_is_that_of_terms_with_these_weights():
    images, masks = batch()
    trainer = distiller()
    logs = trainer.train_on_batch(images, masks, return_dict=True)
    weights = [logs["pixelwise_factor"], 0.5 * logs["attention_stage_factor"]]
    plain = distiller(weights, balance=False)
    plain.train_on_batch(images, masks)
    for ours, theirs in zip(trainer.student.get_weights(), plain.student.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_factors_are_measured_every_so_often_and_follow_what_drifts():
    images, masks = batch()
    trainer = distiller(optimizer=keras.optimizers.SGD(0.05), balance=Balance(every=50, momentum=0))
    factors, expected = [], None
    for step in range(52):
        if step == 50:
            parts = map(tf.constant, (images, masks))
            task, first, _ = norms(trainer.student, trainer.teacher, trainer.terms, *parts, "stage")
            expected = task / first
        logs = trainer.train_on_batch(images, masks, return_dict=True, reset_metrics=True)
        factors.append(logs["pixelwise_factor"])
    assert len(set(factors[:50])) == 1 and factors[50] == factors[51] != factors[0]
    # Again what the gradients are at that step.
    assert factors[50] == pytest.approx(expected, rel=1e-3)


def test_half_of_a_factor_stays():
    images, masks = batch()
    ends = {}
    for momentum in (0, 0.5, 1):
        options = {"optimizer": keras.optimizers.SGD(0.0), "balance": Balance(50, momentum)}
        trainer = distiller(**options)
        trainer._balance.factors.assign([4.0, 4.0])
        logs = trainer.train_on_batch(images, masks, return_dict=True)
        ends[momentum] = logs["pixelwise_factor"]
    assert ends[1] == pytest.approx(4)
    assert ends[0.5] == pytest.approx(np.sqrt(4 * ends[0]), rel=1e-4)


def test_a_term_that_warms_up_is_measured_when_it_is_on():
    images, masks = batch()
    teacher, student = network("teacher", seed=1), network("student", 4, seed=2)
    trainer = Distiller(teacher, student, [Term("pixelwise", schedule=WarmUp(4))], balance=True)
    trainer.compile(keras.optimizers.SGD(1e-3))
    logs = [trainer.train_on_batch(images, masks, return_dict=True) for _ in range(3)]
    assert [each["pixelwise_factor"] > 0 for each in logs] == [False, True, True]
    assert logs[0]["pixelwise"] == 0 < logs[1]["pixelwise"]


def test_a_batch_that_says_nothing_changes_nothing():
    images, masks = batch()
    void = np.full_like(masks, IGNORE)
    trainer = distiller()
    logs = trainer.train_on_batch(images, void, return_dict=True)
    assert logs["pixelwise_factor"] == 1
    assert np.isfinite(list(logs.values())).all()


def test_a_resumed_training_has_the_factors_of_the_first(tmp_path):
    images, masks = batch()

    def steps(trainer, count):
        return [trainer.train_on_batch(images, masks, return_dict=True) for _ in range(count)]

    whole = distiller(balance=Balance(50, 0.5))
    steps(whole, 3)
    checkpoint = tf.train.Checkpoint(model=whole, optimizer=whole.optimizer)
    path = checkpoint.write(str(tmp_path / "state"))
    logs = steps(whole, 2)
    again = distiller(balance=Balance(50, 0.5), seed=7)
    again.optimizer.build(again.trainable_variables)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).read(path).assert_existing_objects_matched()
    assert steps(again, 2)[-1]["pixelwise_factor"] == logs[-1]["pixelwise_factor"]
    assert same(again.student.get_weights(), whole.student.get_weights())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_in_half_precision_the_factors_are_nearly_the_same(policy):
    images, masks = batch()
    full = distiller().train_on_batch(images, masks, return_dict=True)
    keras.mixed_precision.set_global_policy(policy)
    try:
        half = distiller().train_on_batch(images, masks, return_dict=True)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert half["pixelwise_factor"] == pytest.approx(full["pixelwise_factor"], rel=0.1)


# The feature


def branched():
    """scale → a → b → c → logits, with a skip from b into c, and a branch from a."""
    image = keras.Input(SHAPE)
    scale = layers.Rescaling(1 / 255, name="scale")(image)
    a = layers.Conv2D(4, 3, padding="same", name="a")(scale)
    side = layers.Conv2D(4, 1, name="side")(a)
    b = layers.Conv2D(4, 3, padding="same", name="b")(a)
    c = layers.Conv2D(4, 3, padding="same", name="c")(b)
    joined = layers.Add(name="join")([b, c, side])
    other = layers.Conv2D(4, 1, name="other")(scale)
    joined = layers.Add(name="more")([joined, other])
    return keras.Model(image, layers.Conv2D(CLASSES, 1, name="head")(joined))


@pytest.mark.parametrize(
    ("layer_names", "feature"),
    [
        ({"logits"}, "logits"),
        ({"join"}, "join"),
        ({"c"}, "c"),
        ({"c", "b"}, "b"),
        ({"c", "side"}, "a"),
        ({"other"}, "other"),
        ({"other", "a"}, "scale"),
    ],
)
def test_the_feature_is_the_last_that_all_depend_on(layer_names, feature):
    assert shared_feature(branched(), layer_names) == feature


def test_what_cannot_be_balanced_is_said():
    with pytest.raises(ValueError, match="task_weight=0"):
        distiller(task_weight=0)
    with pytest.raises(TypeError, match="balance must be"):
        distiller(balance=3)
    with pytest.raises(ValueError, match="every must be a whole number from 50 up"):
        Balance(every=10)
    with pytest.raises(ValueError, match="momentum"):
        Balance(momentum=2)
    trainer = distiller()
    with pytest.raises(ValueError, match="jit_compile"):
        trainer.compile("sgd", jit_compile=True)
    image = keras.Input(SHAPE)
    one = layers.Conv2D(4, 1, name="one")(image)
    two = layers.Conv2D(4, 1, name="two")(image)
    apart = keras.Model(image, layers.Conv2D(CLASSES, 1)(layers.Add()([one, two])))
    with pytest.raises(ValueError, match="no layer that its logits"):
        shared_feature(apart, {"one", "two"})
