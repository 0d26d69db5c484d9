"""The `Distiller`: trains a student with one teacher forward and one student forward per step."""

import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.distillation.adapters import adapter_for
from tfsegkd.distillation.batches import devices, first_batches, images_of, read_batch, share_of_an_image
from tfsegkd.distillation.critics import Critics
from tfsegkd.distillation.features import feature_extractor
from tfsegkd.distillation.keras3_arguments import (
    check_callbacks,
    check_compiled,
    check_takes_logits,
    data_of,
    optimizer_of,
)
from tfsegkd.distillation.keras3_student import WriteBack, with_callback
from tfsegkd.distillation.least_squares import BATCHES, initialize_by_least_squares
from tfsegkd.distillation.optimization import Accumulator, descend
from tfsegkd.distillation.teacher_outputs import TeacherOutputs
from tfsegkd.distillation.teachers import Teacher
from tfsegkd.distillation.term_balance import Balance, TermBalance
from tfsegkd.distillation.terms import LOGITS, Term, check_names
from tfsegkd.graph import check_functional, check_images
from tfsegkd.losses.segmentation import SegmentationLoss


class Distiller(keras.Model):
    """Trains a student on labels and on the outputs of a teacher.

    A Keras model: use `compile`, `fit` and callbacks as usual. A step runs the teacher once, in inference
    mode, and the student once, whatever the number of terms. `evaluate`, `predict`, `summary`, `save`,
    `save_weights` and `load_weights` act on the student.

    The student may use mixed precision, be quantization-aware, or be pruned during training: add
    `tfmot.sparsity.keras.UpdatePruningStep()` to the callbacks of `fit`. Under a `tf.distribute` strategy,
    build the networks and the distiller in its scope.

    Args:
        teacher: Anything that `load_teacher` takes, or None to train on labels alone. The outputs of a
            recorded teacher are read from the batch.
        student: A functional tf_keras network, which is trained in place, or a Keras 3 network that takes
            pixels 0…255. A Keras 3 network is adopted (see `tfsegkd.models.adopt`): the trained network is
            `distiller.student`, which has the same layers without a final softmax and can be pruned,
            quantized and exported. The trained weights are written back to the original at the end of each
            epoch, before other callbacks, at the end of `fit`, and after each `train_on_batch`. `save` saves
            the original.
        terms: The terms of the loss. None means the pixel-wise loss on the logits; an empty list means no
            term.
        task_weight: The factor of the task loss; 0 trains on the teacher alone.
        ignore_label: The label of void pixels, which no loss uses.
        balance: Whether the weight of each term is its share of the task loss' gradient norm, measured during
            training (see `Balance`; True stands for `Balance()`). The logs contain the factor of each term.

    Shapes:
        fit takes (images, masks[, sample_weight]): images (N, H, W, 3) float32 0…255; masks (N, H, W) or
        (N, H, W, 1) integer labels, where −1 marks pixels without a label that the teacher predicts, or
        one-hot (N, H, W, C), zeros for void; sample_weight (N,). Losses and metrics get labels (N, H, W).
        With a recorded teacher it takes ({"images": images, "teacher": {layer: tensor}}, masks[,
        sample_weight]).

    Raises:
        TypeError: if the student is not a functional Keras network, or the teacher is of a type that
            `load_teacher` does not take.
        ValueError: for a layer that does not exist, features that no adapter can match, two terms of one
            name, a teacher whose input size differs from the student's, or a Keras 3 student that cannot be
            adopted; the message names its layers.

    Example:
        distiller = tfsegkd.Distiller(teacher, student, terms=[tfsegkd.Term("pixelwise(temperature=4)")])
        distiller.compile("adam")
        distiller.fit(batches, epochs=10)
        student.save("student.keras")

    Reference:
        Hinton et al., 2015, https://arxiv.org/abs/1503.02531.
    """

    def __init__(
        self,
        teacher: Teacher | keras.Model | Callable | None,
        student: keras.Model,
        terms: Sequence[Term] | None = None,
        task_weight: float = 1.0,
        ignore_label: int = 255,
        balance: Balance | bool = False,
    ):
        adoption = _adopted(student) if models.is_keras3(student) else None
        student = student if adoption is None else adoption.model
        check_functional(student, "Distiller(student=…)")
        check_images(student, "Distillation")
        # The precision decides whether Keras scales the loss. The student casts the images itself.
        super().__init__(name="distiller", dtype=_precision(student), autocast=False)
        if terms is None:
            terms = [Term("pixelwise")] if teacher is not None else []
        check_names(terms)
        self.student = student
        self._adoption = adoption
        self.terms = tuple(terms)
        self.task_weight = task_weight
        self.ignore_label = ignore_label
        self._balance = _balance(balance, terms, student, task_weight)
        layers = {LOGITS, *(term.layers[1] for term in terms)}
        compared = {self._balance.feature} if self._balance else set()
        self._student_features = feature_extractor(student, layers | compared, "student")
        student_outputs = self._student_features.output_shape
        self._teacher_outputs = TeacherOutputs(teacher, student, terms)
        # Losses and adapters own weights: as lists of layers, Keras tracks them.
        self._losses_of_terms = [term.loss for term in terms]
        self._adapters = [
            adapter_for(term, self._teacher_outputs.shapes[term.layers[0]], student_outputs[term.layers[1]])
            for term in terms
        ]
        self._initialized = False
        self._critics = Critics(terms)
        names = ("loss", "task_loss", *(term.name for term in terms), *self._critics.names)
        names += tuple(f"{term.name}_factor" for term in terms if self._balance)
        self._means = {name: keras.metrics.Mean(name) for name in names}
        # The number of optimizer steps, which schedules depend on.
        self._step = self.add_weight(
            name="step",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.build(student.input_shape)
        self._build_terms(student_outputs)

    def _build_terms(self, student_outputs):
        """Traces the terms once, to create their weights and to find shapes that do not match."""

        def tensor(shape, dtype=tf.float32):
            return tf.TensorSpec((1, *shape[1:]), dtype)

        def compare(teacher_outputs, student_outputs, images, masks):
            batch = self._read((images, masks))
            return [
                self._compare(index, batch, teacher_outputs, student_outputs)
                for index in range(len(self.terms))
            ]

        images = tensor(self.student.input_shape)
        tf.function(compare).get_concrete_function(
            {layer: tensor(shape) for layer, shape in self._teacher_outputs.shapes.items()},
            {layer: tensor(shape) for layer, shape in student_outputs.items()},
            images,
            tensor(images.shape[:-1], tf.int32),
        )

    @property
    def teacher(self) -> Teacher | keras.Model | Callable | None:
        """The argument `teacher`, unchanged."""
        return self._teacher_outputs.teacher

    def compile(
        self,
        optimizer="adam",
        loss=None,
        metrics=None,
        *,
        critic_optimizer=None,
        accumulate_steps: int = 1,
        **options,
    ):
        """Configures training, as in Keras, and the training of critics and small batches.

        Args:
            optimizer, metrics, options: As in Keras. A Keras 3 optimizer is converted to that of tf_keras
                with the same settings.
            loss: The task loss, a mean over the images, of labels (N, H, W) and logits of all classes, also
                where the student ends in probabilities; None means cross-entropy over the pixels that are not
                void.
            critic_optimizer: The optimizer of the critics of `holistic` terms, with one step per batch; None
                means Adam(1e-4, beta_1=0, beta_2=0.9), as in WGAN-GP.
            accumulate_steps: The number of batches per optimizer step. Without BatchNorm, k batches of N
                images give the same step as one batch of k·N. BatchNorm still takes its statistics from each
                small batch; queues and critics are updated with each one, too. Schedules, of the learning
                rate and of terms, count optimizer steps. Batches left over at the end of an epoch count for
                the next, also after a resume; those at the end of training are lost.

        Raises:
            ValueError: if `accumulate_steps` is not a whole number of at least 1; for a `loss` of Keras that
                takes probabilities; for a `critic_optimizer` without a critic; for `jit_compile=True` with a
                term that XLA cannot compile: those with a schedule, and `cirkd` with queues. XLA reports at
                the first step what it cannot compile in the student, such as the gradient of a nearest
                UpSampling2D.
        """
        checks.whole(accumulate_steps, 1, "accumulate_steps")
        if options.get("jit_compile"):
            _check_compilable(self.terms, self._balance)
        check_compiled(loss=loss, metrics=metrics)
        check_takes_logits(loss)
        loss = SegmentationLoss(self.ignore_label) if loss is None else loss
        super().compile(optimizer=optimizer_of(optimizer), loss=loss, metrics=metrics, **options)
        with self.distribute_strategy.scope():
            self.critic_optimizer = self._critics.optimizer(optimizer_of(critic_optimizer))
            self._accumulator = None
            if accumulate_steps > 1:
                self._accumulator = Accumulator(self.trainable_variables, accumulate_steps)

    @property
    def metrics(self):
        return [*self._means.values(), *(m for m in super().metrics if m.name not in self._means)]

    def call(self, images, training=False):
        return self.student(images_of(images), training=training)

    def _initialize_adapters(self, batches):
        """Initializes the adapters by least squares; the student is not changed."""
        self._initialized = True
        # A student that TF-MOT prunes can run in training mode inside Keras' own loop only.
        training = not any(hasattr(layer, "pruning_step") for layer in self.student.layers)

        def run(*data):
            batch = self._read(data)
            return (
                batch,
                self._teacher_outputs.of(batch),
                self._student_features(batch.images, training=training),
            )

        weights = self.student.get_weights()
        try:
            with self.distribute_strategy.scope():
                initialize_by_least_squares(self._adapters, self.terms, run, batches)
        finally:
            self.student.set_weights(weights)  # the statistics of BatchNorm have changed

    def train_step(self, data):
        batch = self._read(data)
        parts, student_outputs = self._learn(batch, self._teacher_outputs.of(batch))
        return self._log(parts, batch, student_outputs[LOGITS])

    def _read(self, data):
        classes = self._student_features.output_shape[LOGITS][-1]
        return read_batch(data, self.ignore_label, classes, needs_masks=bool(self.task_weight))

    def _learn(self, batch, teacher_outputs, freezes_student=False):
        """Takes one step of the student; returns the losses and the student's outputs.

        Args:
            teacher_outputs: The teacher's outputs by layer; without any, only the task loss is used.
            freezes_student: Whether terms train their own weights (adapters, critics, queues) but not the
                student.
        """
        share = share_of_an_image(batch)
        terms = self.terms if teacher_outputs else ()
        balance = None if freezes_student or not terms else self._balance
        with tf.GradientTape(persistent=balance is not None) as tape:
            student_outputs = self._student_features(batch.images, training=True)
            compared = (
                tf.nest.map_structure(tf.stop_gradient, student_outputs)
                if freezes_student
                else student_outputs
            )
            # Each part is logged as its contribution to the sum.
            term_losses = {
                term.name: share * self._weighted(index, batch, teacher_outputs, compared)
                for index, term in enumerate(terms)
            }
            # After the terms, whose layers may add regularization losses when they are called.
            owners = [self.student, *self._adapters, *self._losses_of_terms]
            task_loss = self._task_loss(batch, student_outputs[LOGITS], share, owners)
        factors = {}
        if balance is not None:
            feature = student_outputs[balance.feature]
            shares = [term.weight * self._share(term) for term in terms]
            measured = balance.measure(
                self._step, tape, task_loss, list(term_losses.values()), shares, feature
            )
            factors = dict(zip(term_losses, measured, strict=True))
        with tape:
            if factors:
                term_losses = {name: factors[name] * value for name, value in term_losses.items()}
            parts = {"task_loss": task_loss, **term_losses}
            total = tf.add_n(list(parts.values()))
        self._step.assign_add(
            descend(total, tape, self.trainable_variables, self.optimizer, self._accumulator)
        )
        if self._critics and teacher_outputs:
            parts |= self._critics.step(
                self.critic_optimizer,
                batch,
                lambda index: self.terms[index].compared(
                    teacher_outputs, student_outputs, self._adapters[index], training=False
                ),
            )
        parts |= {f"{name}_factor": factor for name, factor in factors.items()}
        return {"loss": total, **parts}, student_outputs

    def _share(self, term):
        """Returns the factor of a term's schedule at this step."""
        return tf.ones([]) if term.schedule is None else term.schedule(self._step)

    def _weighted(self, index, batch, teacher_outputs, student_outputs):
        """Returns the weighted term, summed over the images."""
        term = self.terms[index]

        def add():
            return term.weight * batch.sum(self._compare(index, batch, teacher_outputs, student_outputs))

        # A term that is off is not computed: 0 times NaN would be NaN.
        if term.weight == 0:
            return tf.zeros([])
        if term.schedule is None:
            return add()
        factor = self._share(term)
        return tf.cond(factor > 0, lambda: factor * add(), lambda: tf.zeros([]))

    def _compare(self, index, batch, teacher_outputs, student_outputs):
        """Returns a term's loss of each image."""
        adapter = self._adapters[index]
        return self.terms[index].of_each_image(teacher_outputs, student_outputs, adapter, batch)

    def _task_loss(self, batch, logits, share, owners):
        """Returns the weighted task loss plus the regularization losses of `owners`."""
        logits = tf.cast(logits, tf.float32)
        loss = tf.cast(self.compiled_loss(batch.labels, logits, batch.weights), tf.float32)
        # Keras has divided the mean over the images of this device by the number of devices.
        if devices() > 1:
            loss *= devices() * share * tf.cast(tf.shape(logits)[0], tf.float32)
        penalties = [penalty for owner in owners for penalty in owner.losses]
        penalties = [tf.cast(penalty, tf.float32) / devices() for penalty in penalties]
        return self.task_weight * loss + (tf.add_n(penalties) if penalties else 0.0)

    def test_step(self, data):
        batch = self._read(data)
        logits = self._student_features(batch.images, training=False)[LOGITS]
        task_loss = self._task_loss(batch, logits, share_of_an_image(batch), [self.student])
        return self._log({"loss": task_loss, "task_loss": task_loss}, batch, logits)

    def _log(self, parts, batch, logits):
        for name, value in parts.items():
            self._means[name].update_state(value * devices())
        self.compiled_metrics.update_state(batch.labels, logits, batch.weights)
        metrics = [self._means[name] for name in parts]
        return {metric.name: metric.result() for metric in (*metrics, *self.compiled_metrics.metrics)}

    def fit(self, *args, **kwargs):
        """Trains, as in Keras. Before the first step, adapters are initialized by least squares."""
        bound = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        check_callbacks(bound.arguments.get("callbacks"))
        if bound.arguments.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` is for labels of whole images. Weigh the classes of pixels with "
                "`compile(loss=SegmentationLoss(class_weights=…))`."
            )
        for name in ("x", "validation_data"):
            if name in bound.arguments:
                bound.arguments[name] = data_of(bound.arguments[name])
        args, kwargs = bound.args[1:], bound.kwargs
        if not self._step:
            batches, args, kwargs = first_batches(BATCHES, args, kwargs)
            self._initialize_adapters(batches)
        if self._adoption is None:
            return super().fit(*args, **kwargs)
        try:
            # First, so that the user's callbacks find the trained weights in the original network.
            args, kwargs = with_callback(WriteBack(self._adoption), args, kwargs)
            return super().fit(*args, **kwargs)
        finally:
            self._adoption.write_back()

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        if not self._initialized and not self._step:
            self._initialize_adapters([(x, y) if sample_weight is None else (x, y, sample_weight)])
        logs = super().train_on_batch(x, y, sample_weight, **kwargs)
        if self._adoption is not None:
            self._adoption.write_back()
        return logs

    def save(self, filepath, *args, **kwargs):
        """Saves the student, in the Keras version that it came from."""
        owner = self.student
        if self._adoption is not None:
            self._adoption.write_back()
            owner = self._adoption.original
            kwargs = _of_keras3(kwargs)
        owner.save(filepath, *args, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        """Saves the student's weights, in the Keras version that it came from."""
        if self._adoption is None:
            return self.student.save_weights(filepath, *args, **kwargs)
        self._adoption.write_back()
        return self._adoption.original.save_weights(filepath, **_of_keras3(kwargs))

    def load_weights(self, filepath, *args, **kwargs):
        """Loads weights that `save_weights` of the distiller or of the student has saved."""
        if self._adoption is None:
            return self.student.load_weights(filepath, *args, **kwargs)
        self._adoption.original.load_weights(filepath, **_of_keras3(kwargs))
        self._adoption.take_over()

    def summary(self, *args, **kwargs):
        """Prints the student's layers."""
        self.student.summary(*args, **kwargs)


def _of_keras3(options):
    """Drops the SavedModel options that tf_keras callbacks pass and Keras 3 does not know."""
    return {key: value for key, value in options.items() if (key, value) != ("options", None)}


def _precision(student):
    """Returns the policy of the distiller: Keras scales the loss where a layer computes in float16."""
    half = any(layer.compute_dtype == "float16" for layer in student._flatten_layers())
    return "mixed_float16" if half else "float32"


def _adopted(student):
    inputs = getattr(student, "inputs", None) or []
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if None in shape[1:3]:
        raise ValueError(
            f"Distillation needs a student of fixed height and width. Received: {student.name!r} with inputs "
            f"{shape}. Adopt it at the size of training, distil the result, and write the weights back: "
            f"adoption = tfsegkd.models.Adoption(student, input_shape=(height, width)); Distiller(teacher, "
            f"adoption.model); adoption.write_back()."
        )
    return models.Adoption(student)


def _balance(balance, terms, student, task_weight) -> TermBalance | None:
    if not isinstance(balance, bool | Balance):
        raise TypeError(
            f"balance must be True, False or a tfsegkd.distillation.Balance. Received: {balance!r}."
        )
    if not balance or not terms:
        return None
    if not task_weight or devices() > 1:
        received = f"{devices()} devices" if task_weight else "task_weight=0"
        raise ValueError(
            f"Balancing needs a task loss and a single device. Received: {received}. Leave `balance` out, "
            f"and give the terms fixed weights."
        )
    return TermBalance(Balance() if balance is True else balance, terms, student)


def _check_compilable(terms, balance):
    if balance is not None:
        raise ValueError(
            "XLA cannot compile training steps with balance. Received: jit_compile=True with balance. Leave "
            "out one of them."
        )
    # XLA fails on gradients through a branch where a loss transposes, as several do.
    faulty = [term.name for term in terms if term.schedule is not None or not term.loss.jit_compilable]
    if faulty:
        raise ValueError(
            f"XLA cannot compile the terms {faulty}. Expected, with jit_compile=True, terms without a "
            f"schedule and losses that XLA can compile. Leave out these terms or jit_compile."
        )
