"""A budget in, a network out, from Python."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfsegkd.recipe.budget import Budget
from tfsegkd.recipe.recipe import Recipe
from tfsegkd.recipe.search_result import BudgetNotKept, SearchResult, read_found
from tfsegkd.recipe.searching import Search
from tfsegkd.recipe.stages import PretrainedTeacher, Teacher
from tfsegkd.recipe.training import Schedule, TrainingData


def search(
    data: TrainingData,
    teacher: str | Teacher | PretrainedTeacher,
    budget: str | Budget,
    output_dir: str | Path,
    *,
    student: str = "lite_unet",
    schedule: Schedule | None = None,
    distill: Sequence[str] = ("preset",),
    **options: Any,
) -> SearchResult:
    """Finds the student that a budget affords, and trains it.

    Input sizes and what the student's spec leaves open are costed before anything is trained; a few
    candidates within the budget are trained a part of their schedule and halved, and the best goes on to the
    end. Called again after a kill, it goes on where it was. What it finds is a float network, whose int8 file
    keeps the budget: `Recipe([..., Search(...), Quantize(...)])` makes that file too.

    Args:
        frames: What all trainings see; `frames.size` is the teacher's input and the middle of the sizes.
        teacher: The file of a saved teacher, or the stage that makes one.
        budget: Such as 'arm:60M,bytes:1M', as of `Budget.parse`.
        output_dir: Where everything is written.
        student: The student's spec; what it gives is not searched.
        schedule: How each candidate is trained, should it get to the end; 60 epochs up to a learning rate of
            1e-3 unless given.
        distill: What it learns from the teacher.
        options: Others of `Search`: `candidates`, `max_drop`, `task_weight` and so on.

    Returns:
        The chosen network, the front, and every candidate with its costs and scores.

    Raises:
        ValueError: if no network keeps the budget; the message names the cheapest and its costs.
        OSError: if Arm instructions cannot be counted here; the message says what to install.

    Example:
        >>> found = tfsegkd.recipe.search(frames, "teacher.keras", "macs:200M", "run")  # doctest: +SKIP
        >>> found.why  # doctest: +SKIP
        >>> network = found.load(found.chosen)  # doctest: +SKIP
    """
    if isinstance(teacher, str | Path):
        is_ours = Path(teacher).suffix in (".keras", ".h5")
        teacher = Teacher(str(teacher)) if is_ours else PretrainedTeacher((str(teacher),))
    stage = Search(
        Budget.parse(budget) if isinstance(budget, str) else budget,
        schedule or Schedule(60, 1e-3),
        distill,
        str(Path(output_dir) / "teacher.cache"),
        student,
        **options,
    )
    # The result says so, too.
    with contextlib.suppress(BudgetNotKept):
        Recipe([teacher, stage], export=False).run(output_dir, data)
    return read_found(output_dir)
