"""Trains methods × seeds under one schedule and writes the table that compares them.

    python tools/study.py --flagfile=configs/studies/camvid_first.cfg --data_dir=DIRECTORY

Every method is the same command with a few flags of its own. Rerun the line to go on after an interruption.
"""

import sys
from pathlib import Path

import command
from absl import flags

from tfsegkd.recipe import study

flags.DEFINE_string("base", None, "Flagfile of tools/train.py that all runs share.", required=True)
flags.DEFINE_multi_string(
    "method", [], "'name>stage: --flag=value …'; may be repeated. The first is the baseline."
)
flags.DEFINE_string("data_dir", None, "Where the data set's files lie.")
flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds.")
flags.DEFINE_integer("jobs", 1, "Runs at once; each gets an equal share of the processors.", lower_bound=1)
flags.DEFINE_string("output_dir", "saved_models/study", "Where the runs and the table are written.")

FLAGS = flags.FLAGS


def main():
    methods = [study.parse_method(text) for text in FLAGS.method]
    if not methods:
        raise ValueError("A study needs --method='name>stage: --flag=value …', better two of them.")
    if not Path(FLAGS.base).is_file():
        raise FileNotFoundError(f"No flagfile --base={FLAGS.base!r}.")
    train = [sys.executable, str(Path(__file__).with_name("train.py")), f"--flagfile={FLAGS.base}"]
    if FLAGS.data_dir:
        train.append(f"--data_dir={FLAGS.data_dir}")
    if not all(seed.strip().isdigit() for seed in FLAGS.seeds):
        raise ValueError(f"--seeds={','.join(FLAGS.seeds)} must be whole numbers, such as 0,1,2.")
    directory = Path(FLAGS.output_dir)
    reports = study.run_study(train, methods, [int(seed) for seed in FLAGS.seeds], directory, FLAGS.jobs)
    print(study.write_study(directory, reports, methods))


if __name__ == "__main__":
    command.run(main)
