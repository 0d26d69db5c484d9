"""From a trained network to a file that an app can take."""

from tfsegkd.export.bundle import BundledFile, ModelCard, write_bundle
from tfsegkd.export.metadata import embed_metadata, read_labels
from tfsegkd.export.tflite import VARIANTS, ExportReport, export_tflite
from tfsegkd.export.verify import VerifyReport, verify

__all__ = [
    "VARIANTS",
    "BundledFile",
    "ExportReport",
    "ModelCard",
    "VerifyReport",
    "embed_metadata",
    "export_tflite",
    "read_labels",
    "verify",
    "write_bundle",
]
