"""Gradient norms of the task loss and of each term, before training."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.distillation.adapters import adapter_for
from tfsegkd.distillation.batches import read_batch
from tfsegkd.distillation.features import feature_extractor
from tfsegkd.distillation.least_squares import initialize_by_least_squares
from tfsegkd.distillation.terms import LOGITS, Term
from tfsegkd.losses import SegmentationLoss


@dataclasses.dataclass(frozen=True)
class TermGradient:
    """The value and gradient norm of one part of the loss.

    Args:
        name: The name of the term, or 'task_loss'.
        weight: The factor in the sum.
        value: The weighted value on one batch.
        gradient_norm: The L2 norm of the weighted part's gradient, over all trainable weights of the
            student.
        equal_weight: The weight at which the norm would equal that of the task loss; None if there is none.
    """

    name: str
    weight: float
    value: float
    gradient_norm: float
    equal_weight: float | None

    def __str__(self):
        equal = "" if self.equal_weight is None else f", equal to the task loss' at {self.equal_weight:.3g}"
        weight = "" if self.name == "task_loss" else f", at weight {self.weight:g}{equal}"
        return f"{self.name}: {self.value:.4g}, gradient norm {self.gradient_norm:.3g}{weight}"


def measure_gradients(
    teacher_outputs: Mapping[str, tf.Tensor],
    student: keras.Model,
    terms: Sequence[Term],
    images: tf.Tensor,
    masks: tf.Tensor,
    ignore_label: int,
) -> list[TermGradient]:
    """Measures the task loss and every term on one batch, with the student in training mode.

    Neither the student nor the terms are changed: statistics are restored, and copies of losses and adapters
    are used.

    Args:
        teacher_outputs: The teacher's outputs for the images, by layer.
        student: A functional Keras network.
        terms: The terms of the loss.
        ignore_label: The label of void pixels.

    Shapes:
        images: (N, H, W, 3). masks: (N, H, W), −1 for pixels without a label.

    Raises:
        ValueError: for a student layer that does not exist, or features that no adapter can match.
    """
    arguments = (dict(teacher_outputs), student, terms, images, masks, ignore_label)
    weights, state = student.get_weights(), random.getstate()
    # Keras draws the seeds of new weights from a generator per thread, or from `random`. In a thread of its
    # own the measurement does not change the caller's random state, and is the same each time.
    random.seed(0)
    try:
        with ThreadPoolExecutor(1) as pool:
            values, norms = pool.submit(_values_and_norms, *arguments).result()
    finally:
        random.setstate(state)
        student.set_weights(weights)
    names, factors = ["task_loss", *(term.name for term in terms)], [1.0, *(float(t.weight) for t in terms)]
    return [
        TermGradient(
            name,
            factor,
            factor * value,
            gradient_norm=factor * norm,
            equal_weight=norms[0] / norm if norm > 0 < norms[0] else None,
        )
        for name, factor, value, norm in zip(names, factors, values, norms, strict=True)
    ]


def _values_and_norms(teacher_outputs, student, terms, images, masks, ignore_label):
    """Returns the unweighted values and gradient norms of the task loss and of each term."""
    terms = [_new_copy(term) for term in terms]
    network = feature_extractor(student, {LOGITS, *(term.layers[1] for term in terms)}, "student")
    shapes = network.output_shape
    adapters = [
        adapter_for(term, teacher_outputs[term.layers[0]].shape, shapes[term.layers[1]]) for term in terms
    ]
    task_loss = SegmentationLoss(ignore_label)

    def run(images, masks):
        batch = read_batch((images, masks), ignore_label, shapes[LOGITS][-1])
        return batch, teacher_outputs, network(batch.images, training=True)

    # As in training: with a random 1×1 convolution the norms would be meaningless.
    initialize_by_least_squares(adapters, terms, run, [(images, masks)])

    @tf.function
    def measure(teacher_outputs, images, masks):
        # Inside a function this sets the seed of that function only.
        tf.compat.v1.set_random_seed(0)
        batch = read_batch((images, masks), ignore_label, shapes[LOGITS][-1])
        with tf.GradientTape(persistent=True) as tape:
            student_outputs = network(batch.images, training=True)
            values = [task_loss(batch.labels, student_outputs[LOGITS])]
            for term, adapter in zip(terms, adapters, strict=True):
                per_image = term.of_each_image(teacher_outputs, student_outputs, adapter, batch)
                values.append(tf.reduce_mean(per_image))
        return values, [_norm(tape.gradient(value, student.trainable_weights)) for value in values]

    return [[float(figure) for figure in figures] for figures in measure(teacher_outputs, images, masks)]


def _new_copy(term):
    adapter = term.adapter
    if isinstance(adapter, keras.layers.Layer):
        adapter = type(adapter).from_config(adapter.get_config())
    loss = type(term.loss).from_config(term.loss.get_config())
    return dataclasses.replace(term, loss=loss, adapter=adapter)


def _norm(gradients):
    reached = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
    return tf.linalg.global_norm(reached) if reached else tf.constant(0.0)
