"""Teachers: one interface for networks of every kind."""

from tfsegkd.distillation.teachers.averages import Ensemble, Views, unlike
from tfsegkd.distillation.teachers.base import Teacher
from tfsegkd.distillation.teachers.class_map import Mapped, read_class_map
from tfsegkd.distillation.teachers.external import FunctionTeacher, Normalized, SavedModelTeacher
from tfsegkd.distillation.teachers.fitting import FittedWeights, fit_weights
from tfsegkd.distillation.teachers.load import load_teacher
from tfsegkd.distillation.teachers.member import Member, parse_members, split_members
from tfsegkd.distillation.teachers.networks import Keras3Teacher, KerasTeacher
from tfsegkd.distillation.teachers.tflite import TfliteTeacher
from tfsegkd.distillation.teachers.windows import Windows

__all__ = [
    "Ensemble",
    "FittedWeights",
    "FunctionTeacher",
    "Keras3Teacher",
    "KerasTeacher",
    "Mapped",
    "Member",
    "Normalized",
    "SavedModelTeacher",
    "Teacher",
    "TfliteTeacher",
    "Views",
    "Windows",
    "fit_weights",
    "load_teacher",
    "parse_members",
    "read_class_map",
    "split_members",
    "unlike",
]
