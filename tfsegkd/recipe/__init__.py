"""Recipes: resumable stages from images and masks to a verified `.tflite`."""

from tfsegkd.deprecation import renamed_names
from tfsegkd.recipe.auto import AutoQuantize
from tfsegkd.recipe.budget import Budget
from tfsegkd.recipe.budget_search import search
from tfsegkd.recipe.dry_run import Plan
from tfsegkd.recipe.grouping import ASSIGNMENTS, Group
from tfsegkd.recipe.pruning import Prune
from tfsegkd.recipe.qkd import QKD
from tfsegkd.recipe.quantizing import Quantize
from tfsegkd.recipe.recipe import Recipe
from tfsegkd.recipe.rehearsal import plan
from tfsegkd.recipe.search_result import BudgetNotKept, SearchResult
from tfsegkd.recipe.searching import Search
from tfsegkd.recipe.stages import (
    PREFLIGHT,
    Distill,
    PretrainedTeacher,
    StudentAlone,
    Teacher,
    TrainedStudent,
)
from tfsegkd.recipe.strategy import STRATEGIES, Workers, open_workers
from tfsegkd.recipe.training import Schedule, TrainingData

__all__ = [
    "ASSIGNMENTS",
    "PREFLIGHT",
    "QKD",
    "STRATEGIES",
    "AutoQuantize",
    "Budget",
    "BudgetNotKept",
    "Distill",
    "Group",
    "Plan",
    "PretrainedTeacher",
    "Prune",
    "Quantize",
    "Recipe",
    "Schedule",
    "Search",
    "SearchResult",
    "StudentAlone",
    "Teacher",
    "TrainedStudent",
    "TrainingData",
    "Workers",
    "open_workers",
    "plan",
    "search",
]

__getattr__ = renamed_names(__name__, {"BorrowedTeacher": "PretrainedTeacher", "Frames": "TrainingData"})
