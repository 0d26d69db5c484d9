"""Measures what we claim of speed and memory, and prints a table.

python tools/benchmark.py distiller
python tools/benchmark.py losses --json=losses.json
python tools/benchmark.py grouping
python tools/benchmark.py pipeline --rounds=10
python tools/benchmark.py pruned_segnet
python tools/benchmark.py faults --kills=50 --work_dir=/tmp/faults
python tools/benchmark.py models  # writes docs/models.md, at 360x480 unless --input_size says otherwise
"""

import sys
from dataclasses import asdict
from pathlib import Path

import command
from absl import flags

from tfsegkd import checks
from tfsegkd.atomic import write_json
from tfsegkd.benchmarks import distiller, faults, grouping, losses, models, pipeline, pruned_segnet
from tfsegkd.recipe.report import versions

flags.DEFINE_string("json", None, "Where to write what was measured.")
flags.DEFINE_string("input_size", "192x256", "HEIGHTxWIDTH of the images; of distiller and pipeline.")
flags.DEFINE_integer("batch_size", 8, "Images a step; of distiller and pipeline.", lower_bound=1)
flags.DEFINE_integer("rounds", 20, "How often each step is timed; of all but losses.", lower_bound=1)
flags.DEFINE_integer("kills", 50, "How often a run is killed; of faults.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the moments; of faults.")
flags.DEFINE_string("work_dir", None, "A new directory for the runs that are killed; of faults.")
flags.DEFINE_multi_string("network", [], "Spec of a network to measure, all by default; of models.")

FLAGS = flags.FLAGS
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def measure_distiller():
    rows = distiller.run(command.size(FLAGS.input_size, "input_size"), FLAGS.batch_size, FLAGS.rounds)
    return distiller.as_dicts(rows)


def measure_losses():
    return losses.as_dicts(losses.run())


def measure_grouping():
    return grouping.as_dicts(grouping.run(rounds=FLAGS.rounds))


def measure_pipeline():
    rows = pipeline.run(command.size(FLAGS.input_size, "input_size"), FLAGS.batch_size, FLAGS.rounds)
    return pipeline.as_dicts(rows)


def measure_models():
    size = FLAGS.input_size if FLAGS["input_size"].present else "360x480"
    results = Path(FLAGS.json or DOCS / "results" / "models.json")
    document = results.with_suffix(".md") if FLAGS.json else DOCS / "models.md"
    rows = models.run(
        results, document, command.size(size, "input_size"), FLAGS.network or models.NETWORKS, FLAGS.rounds
    )
    return models.as_dicts(rows)


def count_pruned_segnet():
    return pruned_segnet.as_dicts(pruned_segnet.run())


def count_faults():
    if not FLAGS.work_dir:
        raise ValueError("faults needs --work_dir=DIRECTORY, where the runs are made that it kills.")
    smoke = f"--flagfile={ROOT / 'configs' / 'smoke.cfg'}"
    line = [sys.executable, str(ROOT / "tools" / "train.py"), smoke, "--seed=0", "--deterministic"]
    return [asdict(row) for row in faults.run(line, Path(FLAGS.work_dir), FLAGS.kills, FLAGS.seed)]


BENCHMARKS = {
    "distiller": measure_distiller,
    "faults": count_faults,
    "grouping": measure_grouping,
    "losses": measure_losses,
    "models": measure_models,
    "pipeline": measure_pipeline,
    "pruned_segnet": count_pruned_segnet,
}


def main():
    name = checks.one_of(NAME, BENCHMARKS, "The benchmark")
    rows = BENCHMARKS[name]()
    if FLAGS.json:
        write_json(Path(FLAGS.json), {"benchmark": name, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    # The one word that is not a flag.
    NAME = sys.argv.pop(1) if sys.argv[1:] and not sys.argv[1].startswith("-") else None
    command.run(main)
