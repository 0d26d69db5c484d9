"""The benchmarks lie beside the tools, outside of the package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tools"))
