"""Searching the best student within a budget, as a function."""

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
    teacher: str | Teacher | PretrainedTeacher | None,
    budget: str | Budget,
    output_dir: str | Path,
    *,
    student: str = "lite_unet",
    schedule: Schedule | None = None,
    distill: Sequence[str] = ("preset",),
    **options: Any,
) -> SearchResult:
    """Finds and trains the best student within a budget.

    Candidates are combinations of input sizes and the options that the student's spec leaves open. Their
    costs are computed before anything is trained; a few within the budget are trained for a part of their
    schedule, the worse half is dropped, and so on, and the best is trained to the end. Called again after an
    interruption, it resumes. The result is a float network whose int8 file is within the budget:
    `Recipe([..., Search(...), Quantize(...)])` also makes that file.

    Args:
        data: The training data; `data.size` is the teacher's input size and the middle of the input sizes.
        teacher: The file of a saved teacher, or the stage that makes one. None: candidates learn from the
            labels alone.
        budget: For example 'arm:60M,bytes:1M', as for `Budget.parse`.
        output_dir: Where everything is written.
        student: The student's spec; options that it sets are not searched.
        schedule: The training of a candidate that is trained to the end; by default 60 epochs with a maximum
            learning rate of 1e-3.
        distill: The distillation terms; not used without a teacher.
        options: Other arguments of `Search`: `candidates`, `max_drop`, `task_weight` and so on.

    Returns:
        The chosen network, the Pareto front, and every candidate with its costs and scores.

    Raises:
        ValueError: if no network is within the budget; the message names the cheapest and its costs.
        OSError: if Arm instructions cannot be counted here; the message says what to install.

    Example:
        >>> found = tfsegkd.recipe.search(data, "teacher.keras", "macs:200M", "run")  # doctest: +SKIP
        >>> found.why  # doctest: +SKIP
        >>> network = found.load(found.chosen)  # doctest: +SKIP
    """
    if isinstance(teacher, str | Path):
        is_ours = Path(teacher).suffix in (".keras", ".h5")
        teacher = Teacher(str(teacher)) if is_ours else PretrainedTeacher((str(teacher),))
    stage = Search(
        Budget.parse(budget) if isinstance(budget, str) else budget,
        schedule or Schedule(60, 1e-3),
        distill if teacher else (),
        cache=str(Path(output_dir) / "teacher.cache"),
        student=student,
        **options,
    )
    # The result has this information, too.
    with contextlib.suppress(BudgetNotKept):
        Recipe([teacher, stage] if teacher else [stage], export=False).run(output_dir, data)
    return read_found(output_dir)
