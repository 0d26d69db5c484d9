"""Reports of runs: `report.html`."""

from tfsegkd.reporting.page import check_installed as check_installed
from tfsegkd.reporting.page import write_report
from tfsegkd.reporting.run import RunRecord, read_runs

# Imported under their own names: what other packages use, and users do not.
__all__ = ["RunRecord", "read_runs", "write_report"]
