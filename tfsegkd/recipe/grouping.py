"""The group stage: gradual grouping of convolutions during training."""

import dataclasses
from collections.abc import Sequence

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.atomic import write_json
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.distillation import Distiller, parse_terms
from tfsegkd.distillation import Teacher as LoadedTeacher
from tfsegkd.grouping import GradualConv2D, GradualGroupingSchedule, make_gradual, regroup
from tfsegkd.recipe.stages import (
    DENSE_STUDENTS,
    GROUPED,
    PREFLIGHT,
    PRUNED,
    Reads,
    Rehearsal,
    Run,
    cache_key,
    check_task,
    initialize,
    teacher_of,
    without_masks,
)
from tfsegkd.recipe.training import Schedule, train

ASSIGNMENTS = ("identity", "shuffle", "learned")


@renamed_arguments(begin_from="initialize_from")
@dataclasses.dataclass(frozen=True)
class Group:
    """Trains a network whose convolutions are dense at the start and grouped at the end.

    Args:
        model: The spec of the dense network, with the same initial weights as the student alone; None for the
            run's trained student, the pruned one if there is one.
        schedule: How to train it.
        groups: As of `tfsegkd.grouping.make_gradual`: a number, or 'depthwise'.
        layers: Names or patterns of the convolutions; by default all whose channels the groups divide.
        begin, end: The shares of training at which weights between groups start to shrink and are zero. With
            0 and 0 the network is grouped from scratch, with the initial kernels of a grouped network.
        shape: As of `GradualGroupingSchedule`.
        assignment: Which channels form a group: 'identity', neighbours; 'shuffle', neighbours, shuffled where
            one grouped layer feeds another; 'learned', those with the most weight between them at `begin`.
        distill, task_weight, cache, preflight, initialize_from: As of `Distill`; not for a trained
            student.

    Example:
        stage = recipe.Group("mobile_unet", recipe.Schedule(epochs=40, learning_rate=4e-3), groups=4)
    """

    model: str | None
    schedule: Schedule
    groups: int | str
    layers: Sequence[str] = ()
    begin: float = 0.1
    end: float = 0.6
    shape: str = "linear"
    assignment: str = "identity"
    distill: Sequence[str] = ()
    task_weight: float = 1.0
    cache: str | None = None
    preflight: str = "refuse"
    initialize_from: str | None = None
    name = "grouped"
    artefact = GROUPED

    def __post_init__(self):
        checks.one_of(self.assignment, ASSIGNMENTS, "assignment")
        checks.one_of(self.preflight, PREFLIGHT, "preflight")
        checks.in_range(self.end, 0.0, 1.0, "end")
        checks.in_range(self.begin, 0.0, self.end, "begin")
        check_task(parse_terms(self.distill), self.task_weight)
        if self.model is None and self.initialize_from:
            raise ValueError(
                f"The run's trained student has its own weights. Received: "
                f"initialize_from={self.initialize_from!r}. Pass it to the stage that trains the student."
            )
        if self.assignment == "learned" and not self.begin:
            raise ValueError(
                "A learned assignment needs trained dense weights. Received: begin=0. Use a later start, "
                "such as 0.1."
            )
        self._callback(1)

    def check_terms(self, teacher: LoadedTeacher | keras.Model | None, dense: keras.Model) -> None:
        """Raises ValueError if groups, layers or, with a teacher, terms do not fit the dense network."""
        gradual = self._gradual(dense)
        if teacher is not None:
            Distiller(teacher, gradual, parse_terms(self.distill))

    @property
    def reads(self) -> Reads:
        student = () if self.model else ((PRUNED, *DENSE_STUDENTS),)
        return (*student, *teacher_of(parse_terms(self.distill)))

    def settings(self) -> dict:
        return cache_key(self)

    def rehearsal(self, cache: str) -> Rehearsal:
        changes = {"cache": self.cache and cache, "preflight": "off"}
        grouped = dataclasses.replace(self, begin=0, end=0, assignment="identity", **changes)
        return Rehearsal(grouped.make, records=self.cache)

    def make(self, run: Run) -> keras.Model:
        terms, run = parse_terms(self.distill), without_masks(run, self.task_weight)
        teacher, recorded = run.teacher(terms, self.cache)
        data, directory = run.data, run.directory / self.name
        network = self._network(run)
        run.check(self, teacher, network, terms, recorded)
        distiller = Distiller(
            teacher, network, terms, task_weight=self.task_weight, ignore_label=data.train.info.ignore_label
        )
        steps = self.schedule.epochs * (len(data.train) // self.schedule.batch_size)
        callback = self._callback(steps)
        train(distiller, data, self.schedule, directory, [callback], recorded)
        if callback.assignment:
            print(f"  {callback.assignment}", flush=True)
            write_json(directory / "assignment.json", dataclasses.asdict(callback.assignment))
        return models.at_size(regroup(network), data.size)

    def _network(self, run: Run) -> keras.Model:
        """Returns the network before its first step."""
        if self.model is None:
            dense = run.load(PRUNED, *DENSE_STUDENTS)
        else:
            dense = initialize(self.model, run, self.initialize_from)
        network = self._gradual(dense)
        if self.model and not self.end:
            _start_grouped(network)
        return network

    def _gradual(self, dense: keras.Model) -> keras.Model:
        return make_gradual(dense, self.groups, self.layers or None, self.assignment == "shuffle")

    def _callback(self, steps: int) -> GradualGroupingSchedule:
        begin, end = (round(share * steps) for share in (self.begin, self.end))
        return GradualGroupingSchedule(begin, end, self.shape, assign=self.assignment == "learned")


def _start_grouped(network: keras.Model) -> None:
    """Sets the initial weights of a gradual network to those of a grouped one."""
    layers = {layer.name: layer for layer in network.layers}
    for name, layer in layers.items():
        if not isinstance(layer, GradualConv2D):
            continue
        # The initial scale depends on the number of inputs of a filter, which is lower.
        layer.kernel.assign(layer.kernel * layer.blocks**0.5)
        partner = layers.get(name.removesuffix("_depthwise"))
        if partner is not layer and partner is not None:
            initializer = partner.kernel_initializer
            fresh = type(initializer).from_config(initializer.get_config())
            partner.kernel.assign(fresh(partner.kernel.shape))
