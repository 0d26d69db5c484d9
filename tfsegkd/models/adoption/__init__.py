"""Networks from elsewhere: any Keras model in the form of ours."""

from tfsegkd.models.adoption.adopt import Adoption, AdoptionReport, adopt
from tfsegkd.models.adoption.keras3 import is_keras3

__all__ = ["Adoption", "AdoptionReport", "adopt", "is_keras3"]
