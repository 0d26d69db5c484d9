"""Adoption of external networks: any Keras model in the form of ours."""

from tfsegkd._keras import is_keras3
from tfsegkd.models.adoption.adopt import Adoption, AdoptionReport, adopt

__all__ = ["Adoption", "AdoptionReport", "adopt", "is_keras3"]
