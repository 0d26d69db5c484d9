"""The whole way from images and masks to a verified `.tflite`, in stages that can be resumed."""

from tfsegkd.recipe.recipe import Recipe
from tfsegkd.recipe.stages import PREFLIGHT, BorrowedTeacher, Distill, Quantize, StudentAlone, Teacher
from tfsegkd.recipe.training import Frames, Schedule

__all__ = [
    "PREFLIGHT",
    "BorrowedTeacher",
    "Distill",
    "Frames",
    "Quantize",
    "Recipe",
    "Schedule",
    "StudentAlone",
    "Teacher",
]
