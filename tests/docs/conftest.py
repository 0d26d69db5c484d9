"""Lets the tests of the documents use the shell, the browser and the PyTorch files that other tests have."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / package) for package in ("tools", "reporting", "models")]
