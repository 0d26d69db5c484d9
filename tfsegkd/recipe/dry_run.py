"""The plan of a run: what a dry run prints."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class PlannedTraining:
    """One training of a stage.

    Args:
        epochs: The remaining epochs.
        done: The epochs that an interrupted run has finished.
        steps_per_epoch: Optimizer steps per epoch.
        memory_bytes: The memory it needs, estimated by `tfsegkd.recipe.rehearsal.memory_of`.
        first_seconds: The time until the end of the first step, mostly tracing.
        step_seconds, epoch_seconds: The time of a step, and of the end of an epoch. None if not timed.
    """

    epochs: int
    done: int
    steps_per_epoch: int
    memory_bytes: int
    first_seconds: float = 0.0
    step_seconds: float | None = None
    epoch_seconds: float = 0.0

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def seconds(self) -> float | None:
        if self.step_seconds is None:
            return None
        return self.first_seconds + self.steps * self.step_seconds + self.epochs * self.epoch_seconds


@dataclasses.dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Args:
        name: The name of the stage.
        reads, writes: Its files; those without a directory are in the run's.
        finished: Whether an earlier run has finished it.
        network: The network that it creates.
        parameters, macs: The cost of the network.
        trainings: Its trainings.
        other_seconds: The time to build, to record the teacher and to evaluate; None if not timed.
        note: What the estimate does not include.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    finished: bool = False
    network: str = ""
    parameters: int | None = None
    macs: int | None = None
    trainings: tuple[PlannedTraining, ...] = ()
    other_seconds: float | None = None
    note: str = ""

    @property
    def steps(self) -> int:
        """The remaining optimizer steps."""
        return sum(training.steps for training in self.trainings)

    @property
    def seconds(self) -> float | None:
        if self.finished or self.other_seconds is None:
            return None
        return self.other_seconds + sum(training.seconds or 0 for training in self.trainings)

    def __str__(self):
        lines = [f"{self.name}{': done before, reused' if self.finished else ':'}"]
        if self.reads:
            lines.append(f"  reads   {', '.join(self.reads)}")
        if self.writes and not self.finished:
            lines.append(f"  writes  {', '.join(self.writes)}")
        if self.parameters is not None:
            macs = f"{self.macs / 1e6:,.1f} MMACs" if self.macs is not None else "MACs unknown"
            lines.append(f"  makes   {self.network}, {self.parameters:,} parameters, {macs}")
        for training in self.trainings:
            after = f", after the {training.done} that are done" if training.done else ""
            each = f" of {1000 * training.step_seconds:,.0f} ms" if training.step_seconds else ""
            lines.append(
                f"  trains  {training.epochs} epochs{after}: {training.steps:,} steps{each}, about "
                f"{training.memory_bytes / 1e6:,.0f} MB"
            )
        if self.seconds is not None:
            lines.append(f"  takes   about {_duration(self.seconds)}")
        return "\n".join([*lines, f"  note    {self.note}"] if self.note else lines)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Args:
        directory: The output directory.
        examples: The numbers of training and of validation examples.
        stages: The stages, in order; 'export' last, if requested.
        timed_steps: The number of timed steps of each training.
        memory_bytes: The current memory of the process, with cached images.
        rehearsed_bytes: The peak memory of the rehearsal.

    Example:
        schedule = recipe.Schedule(epochs=1, learning_rate=1e-3, batch_size=4)
        steps = recipe.Recipe([recipe.StudentAlone("unet(width=2)", schedule)], export=False)
        frames = recipe.TrainingData(train=source, val=source, size=(32, 48))
        plan = recipe.plan(steps, "mine", frames, timed_steps=0)
        plan.stages[0].parameters
    """

    directory: Path
    examples: tuple[int, int]
    stages: tuple[PlannedStage, ...]
    timed_steps: int
    memory_bytes: int
    rehearsed_bytes: int

    @property
    def seconds(self) -> float | None:
        """The time of all stages, without export and report; None if not timed."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if self.timed_steps else None

    @property
    def peak_bytes(self) -> int:
        """The estimated peak memory of the run."""
        return self.memory_bytes + max(
            (training.memory_bytes for stage in self.stages for training in stage.trainings), default=0
        )

    def __str__(self):
        header = f"A dry run: nothing is trained, and nothing is written to {self.directory}."
        return f"{header}\n{self.outline}"

    @property
    def outline(self) -> str:
        """The stages, what they need and how long they take, a line each."""
        lines = [
            f"{self.examples[0]} training examples, {self.examples[1]} validation examples.",
            *map(str, self.stages),
            f"memory: about {self.peak_bytes / 1e6:,.0f} MB, of which this process has "
            f"{self.memory_bytes / 1e6:,.0f} MB now; the most in the rehearsal: "
            f"{self.rehearsed_bytes / 1e6:,.0f} MB",
        ]
        if self.seconds is not None:
            lines.append(
                f"time: about {_duration(self.seconds)} to the last network, from {self.timed_steps} timed "
                f"steps of each on this machine just now; then the report"
            )
        return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
