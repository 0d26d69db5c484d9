"""The QKD stage: a quantized student and its teacher first learn from each other."""

import dataclasses
from collections.abc import Sequence

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.distillation import CoStudying, KerasTeacher, StudyPhases, parse_terms
from tfsegkd.distillation import Teacher as LoadedTeacher
from tfsegkd.quantization import Precision
from tfsegkd.recipe.quantizing import QuantizedStudent
from tfsegkd.recipe.stages import PREFLIGHT, Rehearsal, Run
from tfsegkd.recipe.training import Schedule, train


@dataclasses.dataclass(frozen=True)
class QKD(QuantizedStudent):
    """Fine-tunes the student with quantization-aware training in three phases.

    In self-studying the student learns alone; in co-studying student and teacher learn from each other, so
    that the teacher adapts to the student; in tutoring the teacher is frozen. The teacher runs in every step,
    without a cache; its file is not changed. All phases are one training with one schedule, so that
    `Quantize` with as many epochs is a fair comparison.

    Args:
        schedule: The schedule. In the last third BatchNorm and the ranges of activations are frozen. The
            teacher is trained at the same peak learning rate, with warm-up and decay within its phase.
        distill: Specs of the terms, at least one on the logits.
        task_weight: The factor of the task loss of both, above 0.
        precision: The bits and the quantizer.
        shares: The shares of the epochs of the phases.
        preflight: As of `Distill`.

    Example:
        schedule = recipe.Schedule(epochs=6, learning_rate=1e-4)
        stage = recipe.QKD(schedule, distill=["pixelwise(temperature=2)"])

    Reference:
        Kim et al., QKD, 2019, https://arxiv.org/abs/1911.12491, with phases of 30, 100 and 70 epochs.
        Differs: AdamW with one cosine schedule; ranges as `precision` says.
    """

    schedule: Schedule
    distill: Sequence[str] = ("pixelwise(temperature=2)",)
    task_weight: float = 1.0
    precision: Precision = dataclasses.field(default_factory=Precision)
    shares: tuple[float, float, float] = (0.15, 0.5, 0.35)
    preflight: str = "refuse"

    def __post_init__(self):
        checks.one_of(self.preflight, PREFLIGHT, "preflight")
        checks.positive(self.task_weight, "task_weight")
        if len(self.shares) != 3 or not all(share > 0 for share in self.shares):
            raise ValueError(
                f"shares must be three numbers above 0, for self-studying, co-studying and tutoring. "
                f"Received: {self.shares}."
            )
        if self.schedule.epochs < 3:
            raise ValueError(
                f"QKD has three phases and needs an epoch for each. Received: {self.schedule.epochs} epochs. "
                f"Use 3 or more, as with `qat_epochs=20`."
            )
        if all(term.at for term in parse_terms(self.distill)):
            raise ValueError(
                f"QKD needs a term on the logits, which also trains the teacher. Received: "
                f"{list(self.distill)}. Add one such as 'pixelwise(temperature=2)'."
            )

    def settings(self) -> dict:
        settings = {"method": "qkd", **dataclasses.asdict(self)}
        del settings["preflight"]
        return settings

    def rehearsal(self, cache: str) -> Rehearsal:
        together = dataclasses.replace(self, shares=(1e-6, 1.0, 1e-6), preflight="off")
        return Rehearsal(
            together.make, "timed while student and teacher both learn, the slowest of its phases"
        )

    @property
    def phases(self) -> tuple[int, int]:
        """The epochs, counted from 0, at which co-studying and tutoring start."""
        epochs, total = self.schedule.epochs, sum(self.shares)
        first = max(1, round(epochs * self.shares[0] / total))
        last = max(1, round(epochs * self.shares[2] / total))
        first = min(first, epochs - 2)
        return first, max(first + 1, epochs - last)

    def train(self, run, student, quantized, callbacks) -> None:
        terms, data = parse_terms(self.distill), run.data
        teacher = self._teacher(run, terms)
        run.check(self, teacher, student, terms, None)
        studies = CoStudying(
            teacher, quantized, terms, task_weight=self.task_weight, ignore_label=data.train.info.ignore_label
        )
        first, last = self.phases
        print(
            f"  self-studying for {first} epochs, co-studying for {last - first}, then tutoring", flush=True
        )
        train(
            studies,
            data,
            self.schedule,
            run.directory / self.name,
            [StudyPhases(first, last), *callbacks],
            teacher_schedule=dataclasses.replace(self.schedule, epochs=last - first),
        )

    @staticmethod
    def check_teacher(teacher: LoadedTeacher) -> None:
        """Raises ValueError if a teacher cannot be trained."""
        if not isinstance(teacher, KerasTeacher):
            raise ValueError(
                f"QKD trains its teacher, which must be a Keras network of the run's classes. Received: "
                f"{teacher.name!r}, a {type(teacher).__name__}. Set `teacher` to such a network, without a "
                f"class map, windows, mirror images or scales."
            )

    def _teacher(self, run: Run, terms) -> keras.Model:
        """Returns the teacher as a network for training images, resized to the run's size for it."""
        teacher, _ = run.teacher(terms, cache=None)
        self.check_teacher(teacher)
        size, shape = run.data.size, run.data.training_shape[:2]
        own = (run.pretrained and run.pretrained.size) or size
        # A crop is resized by the same factor as an image.
        own = tuple(round(side * part / whole) for side, part, whole in zip(own, shape, size, strict=True))
        return _resized_to(models.at_size(teacher.model, own), shape)


def _resized_to(network: keras.Model, shape: tuple[int, int]) -> keras.Model:
    """Returns `network` with a resize in front, for images of another size."""
    own = tuple(network.input_shape[1:3])
    if own == tuple(shape):
        return network
    images = keras.Input((*shape, 3), name="images")
    logits = network(keras.layers.Resizing(*own, name="to_teacher")(images))
    return keras.Model(images, keras.layers.Resizing(*shape, name="from_teacher")(logits), name=network.name)
