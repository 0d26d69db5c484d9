"""The whole way from images and masks to a verified `.tflite`, in stages that can be resumed."""

from tfsegkd.recipe.recipe import Recipe
from tfsegkd.recipe.stages import Distill, Quantize, StudentAlone, Teacher
from tfsegkd.recipe.state import write_json
from tfsegkd.recipe.training import Frames, Schedule

__all__ = ["Distill", "Frames", "Quantize", "Recipe", "Schedule", "StudentAlone", "Teacher", "write_json"]
