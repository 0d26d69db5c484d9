"""Lets the tests of the documents use the shell and the browser that other tests have."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / room) for room in ("tools", "reporting")]
