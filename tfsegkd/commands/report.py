"""Writes a report of one or several runs: one page that needs no other file and no network connection.

    tfsegkd-report RUN… --output=report.html

RUN is the --output_dir of tfsegkd-train; unfinished runs are shown as far as they got. Runs of different
data are refused. Images come from the data set of the first run, unless --dataset is given.
"""

from pathlib import Path

from absl import flags

from tfsegkd import data
from tfsegkd.commands import command_line
from tfsegkd.reporting import read_runs, write_report

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_string("output", "report.html", "The file to write.")
    flags.DEFINE_string("dataset", None, "The data set of the runs; that of the first run by default.")
    flags.DEFINE_string("split", None, "The validation split; that of the first run by default.")
    flags.DEFINE_string("data_dir", None, "The directory of the data set; that of the first run by default.")
    flags.DEFINE_integer(
        "num_images", 24, "The number of images to show, half of them the worst.", lower_bound=1
    )
    flags.DEFINE_integer(
        "max_images", 200, "The number of evenly spaced images that are evaluated.", lower_bound=1
    )
    command_line.renamed("max_frames", "max_images")


def main(directories):
    if not directories:
        raise ValueError("No run given. Expected tfsegkd-report RUN…, each the --output_dir of a run.")
    noted = next((run.flags for run in read_runs(directories) if run.flags), {})
    source, reason = validation_images(noted)
    path = write_report(directories, FLAGS.output, source, reason, FLAGS.num_images, FLAGS.max_images)
    pictures = f"no images: {reason}, " if source is None else ""
    print(f"{path} ({pictures}{Path(path).stat().st_size / 1e6:.1f} MB)")


def validation_images(noted):
    """Returns the validation split of the runs, or the reason why there is none."""
    name = FLAGS.dataset or noted.get("val_dataset") or noted.get("dataset")
    if name is None:
        return None, "no run has recorded its data set; pass --dataset"
    split, where = FLAGS.split or noted.get("val_split", "val"), FLAGS.data_dir or noted.get("data_dir")
    try:
        source = data.load(name, split, where)
    except (ValueError, OSError) as error:
        if FLAGS.dataset or FLAGS.data_dir:
            raise
        return None, f"the data set was not found ({error}) Pass --data_dir"
    return data.dataset_statistics(source, skip_bad=True).source if noted.get(
        "skip_bad_examples"
    ) else source, ""


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags, takes_words=True)


if __name__ == "__main__":
    run()
