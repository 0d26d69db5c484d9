"""The oracle of the channel graph and the networks of others serve here, too."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / package) for package in ("graph", "models")]
