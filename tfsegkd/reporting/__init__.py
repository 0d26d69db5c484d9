"""Reports of runs: `report.html`."""

from tfsegkd.reporting.page import check_installed, write_report
from tfsegkd.reporting.run import RunRecord, read_runs

__all__ = ["RunRecord", "check_installed", "read_runs", "write_report"]
