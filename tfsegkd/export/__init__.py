"""Export of networks as files for apps."""

from tfsegkd.export.bundle import BundledFile, ModelCard, write_bundle
from tfsegkd.export.lowering import lower_for_arm
from tfsegkd.export.metadata import embed_metadata, read_labels
from tfsegkd.export.tflite import VARIANTS as VARIANTS
from tfsegkd.export.tflite import ExportReport, export_tflite, variants
from tfsegkd.export.tflite import check_output_stride as check_output_stride
from tfsegkd.export.try_page import TRY_PAGE as TRY_PAGE
from tfsegkd.export.try_page import TryPage, write_try_page
from tfsegkd.export.verify import VerifyReport, verify
from tfsegkd.export.verify_arm import ArmReport, verify_on_arm
from tfsegkd.export.web_runtime import check_web_runtime as check_web_runtime

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "ArmReport",
    "BundledFile",
    "ExportReport",
    "ModelCard",
    "TryPage",
    "VerifyReport",
    "embed_metadata",
    "export_tflite",
    "lower_for_arm",
    "read_labels",
    "variants",
    "verify",
    "verify_on_arm",
    "write_bundle",
    "write_try_page",
]
