"""Training a student with the help of a teacher."""

from tfsegkd.distillation.distiller import Distiller
from tfsegkd.distillation.terms import Term, parse_terms

__all__ = ["Distiller", "Term", "parse_terms"]
