"""Reads a data set, prints its statistics, and draws a contact sheet of each split.

    tfsegkd-inspect-data --dataset=camvid --data_dir=DIRECTORY --output_dir=inspection

Writes SPLIT.png for each split, and the statistics to inspection.json.
"""

from pathlib import Path

from absl import flags

from tfsegkd import data
from tfsegkd.atomic import write_json
from tfsegkd.commands import command_line
from tfsegkd.evaluation import contact_sheet

FLAGS = flags.FLAGS


def define_flags():
    command_line.define_data()
    flags.DEFINE_list("splits", ["train", "val"], "The splits to read.")
    flags.DEFINE_bool("skip_bad_examples", True, "Skip and list examples that cannot be read.")
    flags.DEFINE_integer(
        "examples", 12, "The number of examples on the contact sheet of a split.", lower_bound=1
    )
    flags.DEFINE_string("output_dir", "inspection", "The output directory.")


def main():
    command_line.check_data()
    directory, report = Path(FLAGS.output_dir), {"dataset": FLAGS.dataset, "splits": {}}
    for split in FLAGS.splits:
        source = data.load(FLAGS.dataset, split, FLAGS.data_dir)
        statistics = data.dataset_statistics(source, FLAGS.skip_bad_examples)
        found = describe(statistics)
        show(split, statistics, found)
        title = f"{source.info.name} {split}: {found['examples']} examples"
        shares = [row["share"] if row["pixels"] else None for row in found["classes"]]
        shares += [found["void_share"]] if source.labelled else []
        picture = directory / f"{split.replace('/', '_')}.png"
        contact_sheet(picture, statistics.source, title, shares, FLAGS.examples)
        print(f"drawn: {picture}\n")
        report["splits"][split] = found
    write_json(directory / "inspection.json", report)


def describe(statistics):
    """Returns the statistics as JSON; shares of classes are of the pixels that are not void."""
    *classes, void = statistics.pixels
    valid = max(sum(classes), 1)
    rows = [
        {"name": name, "pixels": pixels, "share": pixels / valid, "examples": examples}
        for name, pixels, examples in zip(
            statistics.source.info.class_names, classes, statistics.examples, strict=False
        )
    ]
    return {
        "examples": len(statistics.source),
        "labelled": statistics.source.labelled,
        "sizes": {f"{height}x{width}": count for (height, width), count in statistics.sizes.items()},
        "classes": rows if statistics.source.labelled else [],
        "void_share": void / max(valid + void, 1),
        "notes": list(statistics.source.notes),
        "never_present": statistics.absent(),
        "bad": statistics.bad,
    }


def show(split, statistics, found):
    """Prints the statistics."""
    print(f"{statistics.source.info.name} {split}: {found['examples']} examples")
    sizes = [f"{size} ({count})" for size, count in found["sizes"].items()]
    more = f" and {len(sizes) - 5} others" if len(sizes) > 5 else ""
    print(f"  height x width: {', '.join(sizes[:5])}{more}")
    if found["labelled"]:
        width = max(len(row["name"]) for row in found["classes"])
        print(f"  {'class':{width}}  % of pixels  in examples")
        for row in sorted(found["classes"], key=lambda row: -row["pixels"]):
            print(f"  {row['name']:{width}}  {100 * row['share']:11.2f}  {row['examples']:11}")
        print(f"  {'void':{width}}  {100 * found['void_share']:11.2f}  {statistics.examples[-1]:11}")
    else:
        print("  without labels")
    for note in found["notes"]:
        print(f"  note: {note}")
    for name in found["never_present"]:
        print(f"  never present: {name}")
    for problem in statistics.bad.values():
        print(f"  cannot be read: {problem}")


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
