"""Writes one page about one run or many, which needs no other file and no network.

    tfsegkd-report RUN… --output=report.html

RUN is the --output_dir of tfsegkd-train; a run that did not end is shown as far as it got. Runs of different
data are refused. The images come from the data set that the first run noted, unless --dataset is given.
"""

from pathlib import Path

from absl import flags

from tfsegkd import data
from tfsegkd.commands import command_line
from tfsegkd.reporting import read_runs, write_report

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_string("output", "report.html", "Where to write.")
    flags.DEFINE_string("dataset", None, "The data set of the runs; what the first run noted unless given.")
    flags.DEFINE_string("split", None, "The split that they were validated on; as noted unless given.")
    flags.DEFINE_string("data_dir", None, "Where the data set's files lie; as noted unless given.")
    flags.DEFINE_integer("num_images", 24, "Frames to show, half of them the worst.", lower_bound=1)
    flags.DEFINE_integer(
        "max_images", 200, "Of how many frames, at equal distances in the split.", lower_bound=1
    )


def main(directories):
    if not directories:
        raise ValueError("No run. Expected tfsegkd-report RUN…, each the --output_dir of a run.")
    noted = next((run.flags for run in read_runs(directories) if run.flags), {})
    source, reason = validation_images(noted)
    path = write_report(directories, FLAGS.output, source, reason, FLAGS.num_images, FLAGS.max_images)
    pictures = f"no pictures: {reason}, " if source is None else ""
    print(f"{path} ({pictures}{Path(path).stat().st_size / 1e6:.1f} MB)")


def validation_images(noted):
    """The split that the runs were validated on, or why there is none."""
    name = FLAGS.dataset or noted.get("val_dataset") or noted.get("dataset")
    if name is None:
        return None, "no run has noted its data set; pass --dataset"
    split, where = FLAGS.split or noted.get("val_split", "val"), FLAGS.data_dir or noted.get("data_dir")
    try:
        source = data.load(name, split, where)
    except (ValueError, OSError) as error:
        if FLAGS.dataset or FLAGS.data_dir:
            raise
        return None, f"the data set is not there ({error}) Pass --data_dir"
    return data.dataset_statistics(source, skip_bad=True).source if noted.get(
        "skip_bad_examples"
    ) else source, ""


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags, takes_words=True)


if __name__ == "__main__":
    run()
