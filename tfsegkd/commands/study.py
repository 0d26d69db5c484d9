"""Trains several methods with several seeds and writes a table and a plot that compare them.

    python tools/study.py --flagfile=configs/studies/camvid_first.cfg --data_dir=DIRECTORY

Every method is the same command with a few flags of its own. `study.md`, `study.json` and `study.png` are
written after every run; at the end, `costs.json`, too. Rerun the command to resume after an interruption.
Runs use a clone at one commit; runs of other studies with equal flags are reused.

    python tools/study.py --page=docs/results/camvid_losses.md

updates the tables, numbers and plots of a page from its JSON.
"""

import dataclasses
import itertools
import sys
from pathlib import Path

from absl import flags

from tfsegkd import checks
from tfsegkd.commands import command_line, flagfiles
from tfsegkd.recipe import clone, comparison, comparison_plot, costs, pages, provenance
from tfsegkd.recipe.study import Study, parse_measure, parse_method, parse_row
from tfsegkd.recipe.study_runs import estimate, run_study, script

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_list("page", [], "Only update these pages from their JSON; train nothing.")
    flags.DEFINE_string("base", None, "The flagfile of tfsegkd-train that all runs share.")
    flags.DEFINE_multi_string(
        "method",
        [],
        "'name>stage: --flag=value …', with several stages separated by commas; may be repeated.",
    )
    flags.DEFINE_list("against", [], "The baseline rows 'name>stage'; the first row by default.")
    flags.DEFINE_list("varies", [], "Settings that may differ between rows; all others must be equal.")
    flags.DEFINE_multi_string(
        "measure",
        [],
        "'name>dataset@split': further images to evaluate every row on; may be repeated.",
    )
    flags.DEFINE_list("only", [], "Run only these methods.")
    flags.DEFINE_string("commit", None, "The commit of the code for the runs; the current one by default.")
    flags.DEFINE_string("data_dir", None, "The directory of the data set.")
    flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds.")
    flags.DEFINE_integer(
        "jobs", 1, "The number of parallel runs; each gets an equal share of the processors.", lower_bound=1
    )
    flags.DEFINE_string(
        "output_dir", "saved_models/study", "The directory of the runs, the table and the plot."
    )
    flags.DEFINE_bool("dry_run", False, "Only print which runs are done and how long the rest takes.")
    flags.DEFINE_bool("plot", True, "Draw study.png; needs the extra tfsegkd[plots].")


def main():
    if FLAGS.page:
        for path in map(Path, FLAGS.page):
            print(f"{path}: {'updated' if pages.remake(path) else 'up to date'}")
        return
    study = asked()
    if FLAGS.dry_run:
        print(estimate(study, FLAGS.jobs))
        return
    if FLAGS.plot:
        comparison_plot.check_installed()  # not after the first hours of training
    root = clone.clone(study.directory, FLAGS.commit)
    study = dataclasses.replace(study, command=(*command_of(root), *study.command[2:]))
    reports, failures = {}, {}

    def write(found, failed):
        reports.update(found)
        failures.update(failed)
        comparison.write_study(study, line(), reports, failures=failures)
        lines = comparison.compare(study, reports, failures)
        if FLAGS.plot and lines:
            comparison_plot.draw(study.directory / "study.png", lines)

    try:
        run_study(study, FLAGS.jobs, write, root, clone.code(root), FLAGS.data_dir, FLAGS.only)
        comparison.write_study(study, line(), reports, costs.price(study, reports))
    finally:
        # Also after a failure or an interruption.
        if reports:
            print(comparison.table(comparison.compare(study, reports, failures)))


def asked():
    """Returns the study that the flags describe."""
    methods = tuple(parse_method(text) for text in FLAGS.method)
    if not methods:
        raise ValueError("A study needs --method='name>stage: --flag=value …', preferably two of them.")
    if not FLAGS.base or not Path(FLAGS.base).is_file():
        raise FileNotFoundError(f"No flagfile --base={FLAGS.base!r}. Expected the flags that all runs share.")
    if not all(seed.strip().isdigit() for seed in FLAGS.seeds):
        raise ValueError(f"--seeds={','.join(FLAGS.seeds)} must be whole numbers, such as 0,1,2.")
    baselines = tuple(map(parse_row, FLAGS.against))
    for name in FLAGS.only:
        checks.one_of(name, [method.name for method in methods], "--only")
    # Expanded, so that edits of the flagfile do not change later runs.
    shared, methods = expanded(flagfiles.expand([f"--flagfile={FLAGS.base}"]), methods)
    if FLAGS.data_dir:
        shared.append(f"--data_dir={FLAGS.data_dir}")
    return Study(
        (*command_of(provenance.ROOT), *shared),
        methods,
        tuple(int(seed) for seed in FLAGS.seeds),
        Path(FLAGS.output_dir),
        baselines,
        tuple(FLAGS.varies),
        tuple(map(parse_measure, FLAGS.measure)),
    )


def expanded(shared, methods):
    """Returns the flags that all methods share, and the methods with the flags of their flagfiles.

    As on a command line, a method's --distill replaces that of the base; then each method has its own.
    """
    own = [flagfiles.expand(method.flags) for method in methods]
    common = flagfiles.replace(shared, itertools.chain(*own))
    of_base = [word for word in shared if word not in common]
    flags_of = [(*flagfiles.replace(of_base, words), *words) for words in own]
    return common, tuple(
        dataclasses.replace(method, flags=words) for method, words in zip(methods, flags_of, strict=True)
    )


def command_of(root):
    return sys.executable, str(script(root, "train"))


def line():
    """Returns the command, for readers of the table."""
    return provenance.command_line(["tools/study.py", *sys.argv[1:]])


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
