"""Trains methods × seeds under one schedule and writes the table and the picture that compare them.

    python tools/study.py --flagfile=configs/studies/camvid_first.cfg --data_dir=DIRECTORY

Every method is the same command with a few flags of its own. `study.md`, `study.json` and `study.png` are
written after every run; in the end, `costs.json` as well. Rerun the line to go on after an interruption.
"""

import shlex
import sys
from pathlib import Path

import command
from absl import flags

from tfsegkd.recipe import comparison, comparison_plot, costs
from tfsegkd.recipe.study import Study, outlook, parse_method, parse_row, run_study

flags.DEFINE_string("base", None, "Flagfile of tools/train.py that all runs share.", required=True)
flags.DEFINE_multi_string(
    "method",
    [],
    "'name>stage: --flag=value …', several stages with commas between; may be repeated.",
)
flags.DEFINE_list("against", [], "The rows 'name>stage' that all are compared with; unless given, the first.")
flags.DEFINE_string("data_dir", None, "Where the data set's files lie.")
flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds.")
flags.DEFINE_integer("jobs", 1, "Runs at once; each gets an equal share of the processors.", lower_bound=1)
flags.DEFINE_string("output_dir", "saved_models/study", "Where the runs, table and picture are written.")
flags.DEFINE_bool("dry_run", False, "Only say what is done, what is left, and how long that takes.")
flags.DEFINE_bool("plot", True, "Draw study.png; needs the extra tfsegkd[plots].")

FLAGS = flags.FLAGS


def main():
    methods = tuple(parse_method(text) for text in FLAGS.method)
    if not methods:
        raise ValueError("A study needs --method='name>stage: --flag=value …', better two of them.")
    if not Path(FLAGS.base).is_file():
        raise FileNotFoundError(f"No flagfile --base={FLAGS.base!r}.")
    if FLAGS.plot:
        comparison_plot.check_installed()  # not after the first hours of training
    train = [sys.executable, str(Path(__file__).with_name("train.py"))]
    # Spelt out, so that whoever edits the flagfile meanwhile does not change the runs to come.
    train += FLAGS.read_flags_from_files([f"--flagfile={FLAGS.base}"])
    if FLAGS.data_dir:
        train.append(f"--data_dir={FLAGS.data_dir}")
    if not all(seed.strip().isdigit() for seed in FLAGS.seeds):
        raise ValueError(f"--seeds={','.join(FLAGS.seeds)} must be whole numbers, such as 0,1,2.")
    seeds = tuple(int(seed) for seed in FLAGS.seeds)
    baselines = tuple(map(parse_row, FLAGS.against))
    study = Study(tuple(train), methods, seeds, Path(FLAGS.output_dir), baselines)
    if FLAGS.dry_run:
        print(outlook(study, FLAGS.jobs))
        return
    reports = {}

    def write(found):
        reports.update(found)
        comparison.write_study(study, line(), reports)
        lines = comparison.compare(study, reports)
        if FLAGS.plot and lines:
            comparison_plot.draw(study.directory / "study.png", lines)

    try:
        run_study(study, FLAGS.jobs, write)
        comparison.write_study(study, line(), reports, costs.price(study, reports))
    finally:
        # Also after a failure or an interruption.
        if reports:
            print(comparison.table(comparison.compare(study, reports)))


def line():
    """The command that was given, for whoever reads the table elsewhere."""
    words = ["--data_dir=DIRECTORY" if word.startswith("--data_dir=") else word for word in sys.argv[1:]]
    return shlex.join(["python", "tools/study.py", *words])


if __name__ == "__main__":
    command.run(main)
