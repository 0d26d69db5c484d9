"""The terms of the distillation loss: a loss, the layers it compares and its weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfsegkd import losses
from tfsegkd._keras import keras
from tfsegkd.deprecation import renamed
from tfsegkd.distillation import schedules
from tfsegkd.distillation.batches import Batch
from tfsegkd.spec import Spec, parse

LOGITS = "logits"
# What `preset` stands for: the terms that helped most in docs/results/camvid_losses.md.
PRESET = ("channel_wise*0.6", "hint@stride16*2", "hint@stride8*2")


@dataclass(frozen=True)
class Term:
    """One part of the distillation loss.

    Args:
        loss: A loss, or its spec such as `'pixelwise(temperature=4)'`.
        weight: Its factor in the sum.
        at: (teacher layer, student layer). Names of layers, or strides such as 'stride16' where no layer has
            this name; None means the logits of both.
        adapter: Maps the student's feature to the teacher's shape. 'auto': a bilinear resize if needed and,
            where the loss compares channels of features, a trained 1×1 convolution, initialized by least
            squares. None: no adapter; the shapes must match. A Keras layer: it is called on the student's
            feature and trained. Adapters do not become part of the student.
        schedule: How the weight changes with the optimizer's steps: a schedule, or its spec such as
            `'warm_up(steps=200)*stop(step=900)'`. None keeps the weight constant.

    Raises:
        ValueError: for an unknown loss or schedule, or a weight that is negative or not finite.
        TypeError: for an adapter or a schedule of another type.

    Example:
        schedule = distillation.WarmUp(200)
        tfsegkd.Term(losses.HintLoss(), weight=2, at=("stride16", "stride8"), schedule=schedule)
        tfsegkd.Term("hint", weight=2, at=("stride16", "stride8"), schedule="warm_up(steps=200)")  # the same
    """

    loss: losses.DistillationLoss | str
    weight: float = 1.0
    at: tuple[str, str] | None = None
    adapter: keras.layers.Layer | str | None = "auto"
    schedule: schedules.Schedule | str | Sequence[Spec] | None = None

    def __post_init__(self):
        # A frozen dataclass still has to read its specs once.
        object.__setattr__(self, "loss", losses.get(self.loss))
        object.__setattr__(self, "schedule", schedules.get(self.schedule))
        if self.adapter not in ("auto", None) and not isinstance(self.adapter, keras.layers.Layer):
            raise TypeError(
                f"The adapter of {self.name!r} must be 'auto', None or a tf_keras layer. Received: "
                f"{self.adapter!r}."
            )
        if not 0 <= self.weight < float("inf"):
            raise ValueError(
                f"The weight of {self.name!r} must be finite and not negative. Received: {self.weight}."
            )

    @property
    def name(self) -> str:
        """The name in logs: the loss, and the student's layer unless it is the logits."""
        return self.loss.name if self.at is None else f"{self.loss.name}_{self.at[1]}"

    @property
    def layers(self) -> tuple[str, str]:
        """The compared layers: the teacher's, the student's."""
        return self.at or (LOGITS, LOGITS)

    def compared(
        self,
        teacher_outputs: Mapping[str, tf.Tensor],
        student_outputs: Mapping[str, tf.Tensor],
        adapter: keras.layers.Layer,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the loss compares: the teacher's tensor, and the student's through the adapter."""
        teacher = teacher_outputs[self.layers[0]]
        return teacher, adapter(teacher, student_outputs[self.layers[1]], training=training)

    def of_each_image(
        self,
        teacher_outputs: Mapping[str, tf.Tensor],
        student_outputs: Mapping[str, tf.Tensor],
        adapter: keras.layers.Layer,
        batch: Batch,
    ) -> tf.Tensor:
        """The loss of each image of a training batch, not weighted."""
        pair = self.compared(teacher_outputs, student_outputs, adapter, training=True)
        return self.loss(*pair, labels=batch.masks, valid=batch.valid, images=batch.images)

    taps = renamed(layers)


def parse_terms(specs: Sequence[str]) -> list[Term]:
    """Parses specs of terms, such as `'pairwise@aspp:context*0.5*warm_up(steps=200)'`.

    Args:
        specs: One spec per term; `'preset'` stands for the terms in `PRESET`, the best that we have measured.

    Returns:
        A term for each spec.

    Raises:
        ValueError: for a spec that cannot be read, or two terms with the same loss and layer.

    Example:
        (term,) = distillation.parse_terms(["attention@stride8:stride8*0.5"])
        term.weight, term.at  # (0.5, ('stride8', 'stride8'))
    """
    specs = [each for spec in specs for each in (PRESET if spec.strip() == "preset" else (spec,))]
    terms = [
        Term(losses.get(spec), spec.weight, spec.at, schedule=spec.schedule) for spec in map(parse, specs)
    ]
    check_names(terms)
    return terms


def check_names(terms: Sequence[Term]) -> None:
    """Checks that the names of terms differ, since they are the names in the logs.

    Raises:
        ValueError: for two terms of the same name.
    """
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Several terms have the names {twice}. Use each loss once per student layer, with one weight."
        )
