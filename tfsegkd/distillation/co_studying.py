"""Co-studying (QKD): student and teacher learn from each other before the student is tutored."""

from collections.abc import Sequence

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.distillation.batches import share_of_an_image
from tfsegkd.distillation.distiller import Distiller
from tfsegkd.distillation.features import feature_extractor
from tfsegkd.distillation.optimization import Accumulator, descend
from tfsegkd.distillation.teachers import KerasTeacher, Teacher, load_teacher
from tfsegkd.distillation.teachers.base import checked_logits
from tfsegkd.distillation.terms import LOGITS, Term

PHASES = ("self_studying", "co_studying", "tutoring")


class CoStudying(Distiller):
    """Trains a student, usually a quantized one, with a teacher that adapts to it.

    Training has three phases, which `StudyPhases` switches. In 'self_studying' the student learns from the
    labels alone; the weights of terms (adapters, critics, queues) are trained with the teacher's outputs, so
    that they are ready for the next phase. In 'co_studying' both learn: the student from the labels and the
    teacher, the teacher from the labels and the student's current outputs. In 'tutoring' the teacher is
    frozen, as with a `Distiller`.

    The teacher's loss has the terms on the logits, with exchanged roles and the same weights. Terms on
    features, and losses or adapters with weights, train the student only. All phases are one training: a
    checkpoint of this model contains the teacher and its optimizer.

    Args:
        teacher: A functional tf_keras network, or its path; it is trained in place.
        student, ignore_label: As of `Distiller`.
        terms: As of `Distiller`; at least one must be on the logits.
        task_weight: The factor of the task loss of both, above 0.

    Raises:
        TypeError, ValueError: As of `Distiller`; for a teacher that cannot be trained; for terms from
            which the teacher cannot learn.

    Example:
        terms = [tfsegkd.Term("pixelwise(temperature=2)")]
        studies = distillation.CoStudying(teacher, quantized, terms)
        studies.compile("adam", teacher_optimizer="adam")
        phases = distillation.StudyPhases(co_studying_at=3, tutoring_at=13)  # of studies.fit, for 20 epochs

    Reference:
        Kim et al., QKD, 2019, https://arxiv.org/abs/1911.12491. With τ = 2 and equal weights of the task
        loss and the term, the losses are twice those of the paper with α = 0.5.
    """

    def __init__(
        self,
        teacher: Teacher | keras.Model | str,
        student: keras.Model,
        terms: Sequence[Term] | None = None,
        task_weight: float = 1.0,
        ignore_label: int = 255,
    ):
        checks.positive(task_weight, "task_weight")
        source = load_teacher(teacher)
        if not isinstance(source, KerasTeacher):
            raise TypeError(
                f"The teacher of CoStudying must be a functional tf_keras network of the student's classes. "
                f"Received: {source.name!r}, a {type(source).__name__}. Pass a network without a class map, "
                f"views or a cache, or use Distiller."
            )
        super().__init__(source, student, terms, task_weight, ignore_label)
        self._teacher_features = feature_extractor(
            source.model, {LOGITS, *(term.layers[0] for term in self.terms)}, "teacher"
        )
        owned = [
            [*one.weights, *other.weights]
            for one, other in zip(self._losses_of_terms, self._adapters, strict=True)
        ]
        self._exchanged = [
            index for index, term in enumerate(self.terms) if term.at is None and not owned[index]
        ]
        if not self._exchanged:
            raise ValueError(
                f"The teacher cannot learn from these terms. Expected a term on the logits whose loss has no "
                f"weights. Received: {[term.name for term in self.terms]}. Add 'pixelwise(temperature=2)'."
            )
        self._trains_what_terms_own = any(owned) or bool(self._critics)
        names = ("teacher_loss", "teacher_task_loss", *self._names_of_teacher())
        self._means = {**self._means, **{name: keras.metrics.Mean(name) for name in names}}
        self._phase = PHASES[0]

    def _names_of_teacher(self):
        return [f"teacher_{self.terms[index].name}" for index in self._exchanged]

    @property
    def trainable_weights(self):
        """The weights that the student's optimizer trains; the teacher has its own optimizer."""
        taught = {id(weight) for weight in self._teacher_features.trainable_weights}
        return [weight for weight in super().trainable_weights if id(weight) not in taught]

    @property
    def phase(self) -> str:
        """The current phase, one of `PHASES`; it can be set at any time."""
        return self._phase

    @phase.setter
    def phase(self, phase: str):
        self._phase = checks.one_of(phase, PHASES, "phase")
        if self.train_function is not None:
            # The compiled step contains the old phase.
            self.make_train_function(force=True)

    def compile(self, *args, teacher_optimizer="adam", accumulate_steps: int = 1, **options):
        """Configures training, as `Distiller.compile` does, and the optimizer of the teacher.

        Args:
            teacher_optimizer: Trains the teacher in the phase 'co_studying'; its schedule counts these steps.
            accumulate_steps: As of `Distiller`, for both.
        """
        super().compile(*args, accumulate_steps=accumulate_steps, **options)
        with self.distribute_strategy.scope():
            variables = self._teacher_features.trainable_variables
            # Built now, so that checkpoints contain its state.
            self.teacher_optimizer = keras.optimizers.get(teacher_optimizer)
            self.teacher_optimizer.build(variables)
            self._teacher_accumulator = None
            if accumulate_steps > 1:
                self._teacher_accumulator = Accumulator(variables, accumulate_steps)

    def train_step(self, data):
        if self.phase == "tutoring":
            return super().train_step(data)
        batch = self._read(data)
        if self.phase == "co_studying":
            parts, logits = self._learn_together(batch)
        else:
            teacher_outputs = self._teacher_outputs.of(batch) if self._trains_what_terms_own else {}
            parts, student_outputs = self._learn(batch, teacher_outputs, freezes_student=True)
            logits = student_outputs[LOGITS]
        return self._log(parts, batch, logits)

    def _learn_together(self, batch):
        with tf.GradientTape() as tape:
            teacher_outputs = dict(self._teacher_features(batch.images, training=True))
            teacher_outputs[LOGITS] = checked_logits(teacher_outputs[LOGITS], batch.images, self.teacher.name)
        parts, student_outputs = self._learn(batch, teacher_outputs)
        with tape:
            taught = self._teacher_parts(batch, teacher_outputs[LOGITS], student_outputs[LOGITS])
            total = tf.add_n(list(taught.values()))
        descend(
            total,
            tape,
            self._teacher_features.trainable_variables,
            self.teacher_optimizer,
            self._teacher_accumulator,
        )
        return {**parts, "teacher_loss": total, **taught}, student_outputs[LOGITS]

    def _teacher_parts(self, batch, teacher_logits, student_logits):
        """Returns the parts of the teacher's loss, with the student's logits as the target."""
        share = share_of_an_image(batch)
        task_loss = self._task_loss(batch, teacher_logits, share, [self._teacher_features])
        values = [
            share * self._weighted(index, batch, {LOGITS: student_logits}, {LOGITS: teacher_logits})
            for index in self._exchanged
        ]
        return {"teacher_task_loss": task_loss, **dict(zip(self._names_of_teacher(), values, strict=True))}


class StudyPhases(keras.callbacks.Callback):
    """Switches the phases of a `CoStudying` by the number of epochs done.

    Args:
        co_studying_at: The first epoch, counted from 0, in which both learn.
        tutoring_at: The first epoch in which the teacher is frozen.

    Example:
        callbacks = [distillation.StudyPhases(co_studying_at=1, tutoring_at=2)]  # of fit, for 3 epochs
    """

    def __init__(self, co_studying_at: int, tutoring_at: int):
        super().__init__()
        self.tutoring_at = int(checks.in_range(tutoring_at, 0, float("inf"), "tutoring_at"))
        self.co_studying_at = int(checks.in_range(co_studying_at, 0, tutoring_at, "co_studying_at"))

    def on_epoch_begin(self, epoch, logs=None):
        phase = PHASES[(epoch >= self.co_studying_at) + (epoch >= self.tutoring_at)]
        if phase != self.model.phase:
            self.model.phase = phase
