"""The prune stage: pruning, then training with the dense network as the teacher."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from tfsegkd import checks, models
from tfsegkd._keras import keras
from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.data import Source, evaluation_batches, spread
from tfsegkd.data.statistics import Subset
from tfsegkd.distillation import Distiller, parse_terms
from tfsegkd.graph import cost
from tfsegkd.pruning import (
    COST_COMPLEXITY,
    IMPORTANCES,
    SCOPES,
    UpdatePruningStep,
    cost_complexity_path,
    parse_target,
    prune_channels,
    sparsify,
    sparsity_report,
    strip,
)
from tfsegkd.pruning.importance import BY_LABELS
from tfsegkd.recipe.stages import (
    DENSE_STUDENTS,
    PRUNED,
    Reads,
    Rehearsal,
    Run,
    check_task,
    fingerprint,
    without_masks,
)
from tfsegkd.recipe.state import progress_directory
from tfsegkd.recipe.training import Schedule, TrainingData, train
from tfsegkd.runtime import arm

_SPARSITY = "sparsity:"
# Batches for scores; batches that guide a path, and batches that its points are compared on.
_SCORED, _GUIDING, _HELD_OUT = 16, 4, 10
# The last third of training has constant sparsity.
_THINNING = 2 / 3
_UPDATES = 20


@dataclasses.dataclass(frozen=True)
class Prune:
    """Prunes the student and trains it, with the dense network as the teacher.

    Args:
        target: What to keep, as of `tfsegkd.pruning.prune_channels`: 'macs:0.5', 'params:0.5' or
            'latency:0.5'. With 1 nothing is removed and the dense network is trained as long, as the baseline
            of pruning. 'macs', 'params' or 'latency' alone, with 'cost_complexity', selects the fraction by
            the one-standard-error rule. 'sparsity:0.8' and 'sparsity:2:4' set weights to zero instead.
        schedule: How to train; `rounds` share the epochs.
        importance: 'cost_complexity', or as of `prune_channels`.
        scope, round_to, latency_table: As of `prune_channels`; 'cost_complexity' is always global.
        rounds: The number of rounds of pruning and training.
        distill: Specs of the terms between the dense network and the pruned one; none for labels alone.
        task_weight: The factor of the task loss; with 0 only the importance scores use labels.

    Example:
        stage = recipe.Prune("macs:0.5", recipe.Schedule(epochs=20, learning_rate=2e-3), importance="taylor")
    """

    target: str
    schedule: Schedule
    importance: str = "taylor"
    scope: str = "global"
    round_to: int = 8
    rounds: int = 1
    distill: Sequence[str] = ()
    task_weight: float = 1.0
    latency_table: str | None = None
    name = "pruned"
    artefact = PRUNED

    def __post_init__(self):
        checks.one_of(self.importance, (*IMPORTANCES, COST_COMPLEXITY), "importance")
        checks.one_of(self.scope, SCOPES, "scope")
        checks.in_range(self.rounds, 1, self.schedule.epochs, "rounds")
        check_task(parse_terms(self.distill), self.task_weight)
        if self.target.startswith(_SPARSITY):
            self._thinning(1)
        elif self._chooses:
            parse_target(f"{self.target}:1")
        else:
            kind, _ = parse_target(self.target)
            if kind == "arm":
                if self.importance == COST_COMPLEXITY:
                    raise ValueError(
                        f"{COST_COMPLEXITY!r} follows 'macs', 'params' or 'latency'. Received: "
                        f"{self.target!r}. Choose another importance for a target of Arm instructions."
                    )
                arm.check()
        if self.rounds > 1 and (self._chooses or self.latency_table or self.target.startswith(_SPARSITY)):
            raise ValueError(
                f"{self.rounds} rounds need the share of the cost to keep, as in 'macs:0.5', and no latency "
                f"table, which holds for the dense network only. Received: target {self.target!r}, latency "
                f"table {self.latency_table!r}. Prune in one round."
            )

    @property
    def _chooses(self) -> bool:
        return self.importance == COST_COMPLEXITY and ":" not in self.target

    def check_data(self, data: TrainingData) -> None:
        """Raises ValueError if the importance scores need labels that the training images lack."""
        if data.train.labelled or self.target.startswith(_SPARSITY):
            return
        if not self._chooses and parse_target(self.target)[1] == 1:  # nothing is removed
            return
        if self.importance in (*BY_LABELS, COST_COMPLEXITY):
            free = [name for name in IMPORTANCES if name not in BY_LABELS]
            raise ValueError(
                f"`importance={self.importance!r}` is measured on labelled images. Received: "
                f"{len(data.train)} images of {data.train.info.name!r} without labels. Choose one of {free}."
            )

    def check_terms(self, dense: keras.Model) -> None:
        """Raises ValueError if the terms do not fit the network that will be pruned."""
        if self.distill:
            Distiller(models.at_size(dense, dense.input_shape[1:3]), dense, parse_terms(self.distill))

    @property
    def reads(self) -> Reads:
        return (DENSE_STUDENTS,)

    def settings(self) -> dict:
        table = self.latency_table and fingerprint(self.latency_table)
        return {**dataclasses.asdict(self), "latency_table": table}

    def rehearsal(self, cache: str) -> Rehearsal:
        if self.target.startswith(_SPARSITY):
            return Rehearsal(self.make, trainings=self.rounds)
        kind, _, share = self.target.partition(":")
        cheap = "macs" if kind in ("latency", "arm") else kind
        target, note = f"{cheap}:{share or 0.5}", "without the time for importance scores"
        if not share:
            note += f"; the run chooses the share of {kind} to remove, here half"
        stage = dataclasses.replace(self, importance="l1", target=target, latency_table=None)
        return Rehearsal(stage.make, note, trainings=self.rounds)

    def make(self, run: Run) -> keras.Model:
        keras.utils.set_random_seed(run.data.seed)
        dense = models.at_size(models.load(run.find(*DENSE_STUDENTS)), run.data.size)
        if self.target.startswith(_SPARSITY):
            return self._thin_out(dense, run)
        network = dense
        for number in range(1, self.rounds + 1):
            network = self._round(number, network, dense, run)
        return network

    def _round(self, number, network, dense, run) -> keras.Model:
        """Prunes and trains once; after an interruption, finished parts are not repeated."""
        work = progress_directory(run.directory, self.name)
        cut, done = work / f"pruned_{number}.keras", work / f"trained_{number}.keras"
        if done.exists():
            return models.load(done)
        if not cut.exists():
            pruned = self._prune(number, network, dense, run)
            write_atomically(cut, pruned.save)
        pruned = models.at_size(models.load(cut), run.data.training_shape[:2])
        last = number == self.rounds
        directory = run.directory / self.name if last else work / f"round_{number}"
        self._train(pruned, dense, run, directory, self._epochs(number))
        pruned = models.at_size(pruned, run.data.size)
        if not last:
            write_atomically(done, pruned.save)
        return pruned

    def _epochs(self, number: int) -> int:
        ends = [round(self.schedule.epochs * part / self.rounds) for part in (number - 1, number)]
        return ends[1] - ends[0]

    def _prune(self, number, network, dense, run) -> keras.Model:
        data, notes = run.data, run.directory / self.name
        target = self.target if self._chooses else self._share(number, network, dense)
        if self.importance == COST_COMPLEXITY and target not in ("macs:1", "params:1", "latency:1"):
            model, report = self._follow_path(number, network, target, run)
        else:
            model, report = prune_channels(
                network,
                target,
                "taylor" if self.importance == COST_COMPLEXITY else self.importance,
                self.scope,
                self.round_to,
                data=_spread(data.train, data.size, self.schedule.batch_size, _SCORED),
                seed=data.seed,
                latency_table=self.latency_table,
            )
        print("  " + str(report).replace("\n", "\n  "), flush=True)
        write_json(notes / f"pruning_{number}.json", dataclasses.asdict(report))
        return model

    def _follow_path(self, number, network, target, run):
        data, notes = run.data, run.directory / self.name / f"path_{number}"
        kind, _, fraction = target.partition(":")
        split = len(data.train) * 2 // 3
        guiding, held_out = (
            Subset(data.train, list(part)) for part in (range(split), range(split, len(data.train)))
        )
        size = max(1, min(self.schedule.batch_size, len(held_out) // 2))
        path = cost_complexity_path(
            network,
            _spread(guiding, data.size, size, _GUIDING),
            kind,
            held_out=_spread(held_out, data.size, size, _HELD_OUT),
            round_to=self.round_to,
            latency_table=self.latency_table,
            directory=notes,
            **({"least": float(fraction)} if fraction else {}),
        )
        text = path.table()
        write_atomically(notes / "path.md", lambda file: file.write_text(text, encoding="utf-8"))
        try:
            path.plot(notes / "path.png")
        except ImportError as error:
            print(f"  {error}")
        return path.prune(None if self._chooses else target)

    def _share(self, number, network, dense) -> str:
        """Returns the target of one round, relative to the network before it."""
        kind, fraction = parse_target(self.target)
        wanted = fraction ** (number / self.rounds)
        if kind in ("latency", "arm"):
            return f"{kind}:{fraction ** (1 / self.rounds):.6g}"
        before, full = cost(network), cost(dense)
        left = before.macs / full.macs if kind == "macs" else before.parameters / full.parameters
        return f"{kind}:{min(1.0, wanted / left):.6g}"

    def _thin_out(self, dense, run) -> keras.Model:
        steps = self.schedule.epochs * (len(run.data.train) // self.schedule.batch_size)
        network = models.at_size(dense, run.data.training_shape[:2])
        thinned = sparsify(network, self._thinning(steps))
        self._train(
            thinned, dense, run, run.directory / self.name, self.schedule.epochs, [UpdatePruningStep()]
        )
        stripped = models.at_size(strip(thinned), run.data.size)
        report = sparsity_report(stripped)
        print("  " + str(report).replace("\n", "\n  "), flush=True)
        write_json(run.directory / self.name / "sparsity.json", dataclasses.asdict(report))
        return stripped

    def _thinning(self, steps: int) -> str:
        """Returns the schedule for a target such as 'sparsity:0.8' and a number of steps."""
        share = self.target.removeprefix(_SPARSITY)
        if share == "2:4":
            return share
        try:
            share = float(share)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise ValueError(
                f"Target {self.target!r} cannot be read. Expected 'sparsity:0.8', the share of weights that "
                f"become zero, above 0 and below 1, or 'sparsity:2:4'."
            )
        every = max(1, int(steps * _THINNING) // _UPDATES)
        # The last update must be at the last step of the schedule, or the sparsity stays below the target.
        end = max(every, int(steps * _THINNING) // every * every)
        return (
            f"polynomial_decay(initial_sparsity=0, final_sparsity={share}, begin_step=0, end_step={end}, "
            f"frequency={every})"
        )

    def _train(self, network, dense, run, directory: Path, epochs: int, callbacks=()) -> None:
        run = without_masks(run, self.task_weight)
        terms = parse_terms(self.distill)
        teacher = models.at_size(dense, run.data.training_shape[:2]) if terms else None
        ignore = run.data.train.info.ignore_label
        distiller = Distiller(teacher, network, terms, task_weight=self.task_weight, ignore_label=ignore)
        schedule = dataclasses.replace(self.schedule, epochs=epochs)
        train(distiller, run.data, schedule, directory, callbacks)


def _spread(source: Source, size: tuple[int, int], batch_size: int, count: int) -> Iterable[tf.Tensor]:
    """Returns about `count` batches of evenly spaced images, in order."""
    return evaluation_batches(Subset(source, spread(len(source), count * batch_size)), size, batch_size)
