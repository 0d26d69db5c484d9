"""Removes channels from a saved network.

    tfsegkd-prune --model=student.keras --target=macs:0.5 --dataset=camvid --data_dir=DIRECTORY \\
        --output=pruned.keras

Writes the network and pruned.json, with the kept channels and the cost. Train the network afterwards.
Without a data set use --importance=l1. --importance=cost_complexity also writes the whole trade-off, as
pruned_path.md and pruned_path.png; --target=macs then selects the point by the one-standard-error rule, and
--point=3 another. --describe prints the dependency groups of channels and removes nothing.
"""

import dataclasses
from pathlib import Path

from absl import flags

from tfsegkd import checks, data, models, pruning
from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.commands import channel_flags, command_line
from tfsegkd.data.statistics import Subset
from tfsegkd.graph import ChannelGraph

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_string("model", None, "The network: a float .keras or .h5 file.", required=True)
    flags.DEFINE_string("output", None, "The pruned network to write, .keras or .h5.")
    flags.DEFINE_string(
        "target", "macs:0.5", "The fraction to keep: macs:, params:, latency: or arm: and a number."
    )
    channel_flags.define()
    flags.DEFINE_string("dataset", None, f"The data set for scores, one of {data.names()}, with options.")
    flags.DEFINE_string("data_dir", None, "The directory of the data set.")
    flags.DEFINE_string("split", "train", "Its split. Do not use the one that results are reported on.")
    flags.DEFINE_integer("num_images", 128, "The number of evenly spaced images for scores.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 8, "Images per batch.", lower_bound=1)
    flags.DEFINE_string("latency_table", None, "CSV layer,ms of your device, for a latency target on it.")
    flags.DEFINE_integer("point", None, "The point of the path to write, instead of --target.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "The random seed.")
    flags.DEFINE_bool("describe", False, "Print the dependency groups of channels and stop.")


def main():
    model = models.load(FLAGS.model)
    if FLAGS.describe:
        print(ChannelGraph(model).describe())
        return
    if FLAGS.point is not None and FLAGS.importance != pruning.COST_COMPLEXITY:
        raise ValueError(
            f"--point={FLAGS.point} is one of a path. Add --importance={pruning.COST_COMPLEXITY}."
        )
    if not FLAGS.output or Path(FLAGS.output).suffix not in (".keras", ".h5"):
        raise ValueError(f"--output={FLAGS.output!r} must be a .keras or .h5 file to write.")
    output = Path(FLAGS.output)
    if FLAGS.importance == pruning.COST_COMPLEXITY:
        pruned, report = follow_path(model, output)
    else:
        pruned, report = pruning.prune_channels(
            model,
            FLAGS.target,
            FLAGS.importance,
            FLAGS.scope,
            FLAGS.round_to,
            data=batches(model),
            seed=FLAGS.seed,
            latency_table=FLAGS.latency_table,
        )
    print(report)
    write_atomically(output, pruned.save)
    write_json(output.with_suffix(".json"), dataclasses.asdict(report))


def batches(model):
    """Yields images of the data set with their masks, in order."""
    if FLAGS.dataset is None:
        return None
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir)
    if source.info.num_classes != model.output_shape[-1]:
        raise ValueError(
            f"{FLAGS.model!r} predicts {model.output_shape[-1]} classes and {FLAGS.dataset!r} has "
            f"{source.info.num_classes}. Measure on the data set that it was trained for."
        )
    some = Subset(source, data.spread(len(source), FLAGS.num_images))
    return data.evaluation_batches(some, model.input_shape[1:3], FLAGS.batch_size)


def follow_path(model, output):
    """Writes the whole path beside the output, and one network of it."""
    kind, _, fraction = FLAGS.target.partition(":")
    checks.one_of(kind, pruning.COSTS, "--target")
    chosen = FLAGS.point is not None or not fraction
    least = {} if chosen else {"least": pruning.parse_target(FLAGS.target)[1]}
    path = pruning.cost_complexity_path(
        model,
        batches(model),
        kind,
        round_to=FLAGS.round_to,
        latency_table=FLAGS.latency_table,
        directory=output.with_name(f"{output.stem}_path"),
        **least,
    )
    table = path.table()
    print(table)
    notes = output.with_name(f"{output.stem}_path.md")
    write_atomically(notes, lambda file: file.write_text(table, encoding="utf-8"))
    try:
        path.plot(notes.with_suffix(".png"))
    except ImportError as error:
        print(error)
    if FLAGS.point is not None:
        return path.prune(point=FLAGS.point)
    return path.prune(None if chosen else FLAGS.target)


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
