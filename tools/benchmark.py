"""Measures what we claim of speed and memory, and prints a table.

python tools/benchmark.py distiller
python tools/benchmark.py losses --json=losses.json
"""

import sys
from pathlib import Path

import command
from absl import flags

from tfsegkd import checks
from tfsegkd.atomic import write_json
from tfsegkd.benchmarks import distiller, losses
from tfsegkd.recipe.report import versions

flags.DEFINE_string("json", None, "Where to write what was measured.")
flags.DEFINE_string("input_size", "192x256", "HEIGHTxWIDTH of the images; of distiller.")
flags.DEFINE_integer("batch_size", 8, "Images a step; of distiller.", lower_bound=1)
flags.DEFINE_integer("rounds", 20, "How often each step is timed; of distiller.", lower_bound=1)

FLAGS = flags.FLAGS


def measure_distiller():
    rows = distiller.run(command.size(FLAGS.input_size, "input_size"), FLAGS.batch_size, FLAGS.rounds)
    return distiller.as_dicts(rows)


def measure_losses():
    return losses.as_dicts(losses.run())


BENCHMARKS = {"distiller": measure_distiller, "losses": measure_losses}


def main():
    name = checks.one_of(NAME, BENCHMARKS, "The benchmark")
    rows = BENCHMARKS[name]()
    if FLAGS.json:
        write_json(Path(FLAGS.json), {"benchmark": name, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    # The one word that is not a flag.
    NAME = sys.argv.pop(1) if sys.argv[1:] and not sys.argv[1].startswith("-") else None
    command.run(main)
