"""The whole way from images and masks to a verified `.tflite`, in stages that can be resumed."""

from tfsegkd.recipe.grouping import ASSIGNMENTS, Group
from tfsegkd.recipe.pruning import COST_COMPLEXITY, Prune
from tfsegkd.recipe.recipe import Recipe
from tfsegkd.recipe.stages import PREFLIGHT, BorrowedTeacher, Distill, Quantize, StudentAlone, Teacher
from tfsegkd.recipe.strategy import STRATEGIES, Workers, open_workers
from tfsegkd.recipe.training import Frames, Schedule

__all__ = [
    "ASSIGNMENTS",
    "COST_COMPLEXITY",
    "PREFLIGHT",
    "STRATEGIES",
    "BorrowedTeacher",
    "Distill",
    "Frames",
    "Group",
    "Prune",
    "Quantize",
    "Recipe",
    "Schedule",
    "StudentAlone",
    "Teacher",
    "Workers",
    "open_workers",
]
