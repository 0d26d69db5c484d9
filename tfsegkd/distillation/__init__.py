"""Training a student with the help of a teacher."""

from tfsegkd.distillation.averaging import AverageWeights
from tfsegkd.distillation.cache import TeacherCache
from tfsegkd.distillation.callbacks import StopAtNaN
from tfsegkd.distillation.co_studying import CoStudying, StudyPhases
from tfsegkd.distillation.diagnostics.mirror_agreement import mirror_agreement
from tfsegkd.distillation.diagnostics.preflight import PreflightReport, preflight
from tfsegkd.distillation.distiller import Distiller
from tfsegkd.distillation.schedules import CosineDecay, Schedule, Stop, WarmUp
from tfsegkd.distillation.teachers import (
    FittedWeights,
    KerasTeacher,
    Member,
    Teacher,
    fit_weights,
    load_teacher,
    parse_members,
)
from tfsegkd.distillation.teachers import (
    split_members as split_members,
)
from tfsegkd.distillation.term_balance import Balance
from tfsegkd.distillation.terms import Term, parse_terms

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "AverageWeights",
    "Balance",
    "CoStudying",
    "CosineDecay",
    "Distiller",
    "FittedWeights",
    "KerasTeacher",
    "Member",
    "PreflightReport",
    "Schedule",
    "Stop",
    "StopAtNaN",
    "StudyPhases",
    "Teacher",
    "TeacherCache",
    "Term",
    "WarmUp",
    "fit_weights",
    "load_teacher",
    "mirror_agreement",
    "parse_members",
    "parse_terms",
    "preflight",
]
