"""Measures what we claim of speed and memory, and prints a table.

python tools/benchmark.py arm model_int8.tflite  # instructions on an emulated Arm core, op by op
python tools/benchmark.py distiller
python tools/benchmark.py losses --json=losses.json
python tools/benchmark.py grouping
python tools/benchmark.py latency --input_size=360x480 --network=dense.keras --network=pruned.keras
python tools/benchmark.py pipeline --rounds=10
python tools/benchmark.py pruned_segnet
python tools/benchmark.py mirrored --network=teacher.keras --images=camvid@val --data_dir=DIRECTORY
python tools/benchmark.py ecosystem  # networks of other libraries, of those installed, for docs/models.md
python tools/benchmark.py faults --kills=50 --work_dir=/tmp/faults
python tools/benchmark.py soak --minutes=30 --work_dir=/tmp/soak
python tools/benchmark.py arm_models  # counts every network on Arm, for docs/models.md
python tools/benchmark.py arm_agreement  # runs every network's file on Arm and here, for docs/models.md
python tools/benchmark.py students --json=docs/results/student_costs.json
python tools/benchmark.py models  # writes docs/models.md, at 360x480 unless --input_size says otherwise
python tools/benchmark.py models_page  # writes docs/models.md of what was measured before
python tools/benchmark.py quantization  # writes docs/results/quantization_compared.md
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags
from benchmarks import (
    arm_models,
    distiller,
    ecosystem,
    faults,
    grouping,
    latency,
    losses,
    mirrored,
    models,
    pipeline,
    pruned_segnet,
    quantization,
    soak,
    students,
)

from tfsegkd import checks, data
from tfsegkd.atomic import write_json
from tfsegkd.commands import command_line
from tfsegkd.recipe.provenance import provenance
from tfsegkd.runtime import arm

FLAGS = flags.FLAGS
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def define_flags():
    flags.DEFINE_string("json", None, "Where to write what was measured.")
    flags.DEFINE_string(
        "input_size", "192x256", "HEIGHTxWIDTH of the images; of distiller, latency and pipeline."
    )
    flags.DEFINE_integer("batch_size", 8, "Images a step; of distiller and pipeline.", lower_bound=1)
    flags.DEFINE_integer("rounds", 20, "How often each step is timed; of all but losses.", lower_bound=1)
    flags.DEFINE_integer("kills", 50, "How often a run is killed; of faults.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the moments; of faults.")
    flags.DEFINE_string("work_dir", None, "A new directory for the runs; of faults and soak.")
    flags.DEFINE_float("minutes", 30, "For how long cycles begin; of soak.", lower_bound=0)
    flags.DEFINE_multi_string(
        "network",
        [],
        "Spec of a network, all by default; of models, quantization and students. Its file; of latency and "
        "mirrored.",
    )
    flags.DEFINE_multi_string("images", [], "DATASET@SPLIT of labelled images; of mirrored.")
    flags.DEFINE_enum("core", arm.DEFAULT_CORE, list(arm.CORES), "The emulated Arm core; of arm.")
    flags.DEFINE_bool("whole", False, "Run whole files instead of adding up their ops; of arm_models.")
    flags.DEFINE_string(
        "environment", None, "Where ai-edge-quantizer's environment is kept; of quantization."
    )
    flags.DEFINE_list("steps", list(ecosystem.STEPS), "What to try of each network; of ecosystem.")
    command_line.define_data()


def count_arm(files):
    if not files:
        raise ValueError("Nothing to count. Name the files: tools/benchmark.py arm FILE.tflite ...")
    rows = []
    for file, counted in zip(files, arm.count_together(files, core=FLAGS.core), strict=True):
        print(f"{counted.instructions / 1e6:12,.3f} M instructions an image on {counted.core}  {file}")
        for one in counted.ops:
            millions = "–" if one.instructions is None else f"{one.instructions / 1e6:,.3f}"
            print(f"{millions:>12} {one.op.partition(';')[0]}")
        rows.append({"file": Path(file).name, **dataclasses.asdict(counted)})
    return rows


def measure_distiller():
    return distiller.run(command_line.size(FLAGS.input_size, "input_size"), FLAGS.batch_size, FLAGS.rounds)


def measure_losses():
    return losses.run()


def measure_grouping():
    return grouping.run(rounds=FLAGS.rounds)


def measure_latency():
    return latency.run(FLAGS.network, command_line.size(FLAGS.input_size, "input_size"), FLAGS.rounds)


def measure_mirrored():
    images = []
    for text in FLAGS.images:
        dataset, at, split = text.rpartition("@")
        if not at:
            raise ValueError(f"--images={text!r} must be DATASET@SPLIT, such as camvid@val.")
        images.append((text, data.load(dataset, split, FLAGS.data_dir)))
    return mirrored.run(FLAGS.network, images, command_line.size(FLAGS.input_size, "input_size"))


def measure_pipeline():
    return pipeline.run(command_line.size(FLAGS.input_size, "input_size"), FLAGS.batch_size, FLAGS.rounds)


def measure_models():
    size = FLAGS.input_size if FLAGS["input_size"].present else "360x480"
    results = Path(FLAGS.json or DOCS / "results" / "models.json")
    document = results.with_suffix(".md") if FLAGS.json else DOCS / "models.md"
    return models.run(
        results,
        document,
        command_line.size(size, "input_size"),
        FLAGS.network or models.NETWORKS,
        FLAGS.rounds,
    )


def count_models():
    size = command_line.size(FLAGS.input_size, "input_size")
    sizes = [size] if FLAGS["input_size"].present else [size, (360, 480)]
    results = Path(FLAGS.json or DOCS / "results" / "models_arm.json")
    return arm_models.run(results, sizes, FLAGS.network or models.NETWORKS, FLAGS.whole)


def compare_on_arm():
    size = FLAGS.input_size if FLAGS["input_size"].present else "64x96"
    results = Path(FLAGS.json or DOCS / "results" / "arm_agreement.json")
    networks = FLAGS.network or models.NETWORKS
    return arm_models.compare(results, command_line.size(size, "input_size"), networks)


def write_models_page():
    models.write_page(DOCS / "results" / "models.json", DOCS / "models.md", (360, 480))
    return []


def compare_quantization():
    results = Path(FLAGS.json or DOCS / "results" / "quantization_compared.json")
    return quantization.run(
        results,
        results.with_suffix(".md"),
        *(data.load(FLAGS.dataset, split, FLAGS.data_dir) for split in ("train", "val")),
        command_line.size(FLAGS.input_size, "input_size"),
        FLAGS.network or quantization.NETWORKS,
        FLAGS.rounds,
        Path(FLAGS.environment) if FLAGS.environment else None,
    )


def count_pruned_segnet():
    return pruned_segnet.run()


def count_faults():
    smoke = f"--flagfile={ROOT / 'configs' / 'smoke.cfg'}"
    line = [sys.executable, str(ROOT / "tools" / "train.py"), smoke, "--seed=0", "--deterministic"]
    # What smoke.cfg leaves out, and a kill may fall into: recording the teacher, following a path, and an
    # epoch of each phase of QKD.
    line += ["--cache_teacher", "--importance=cost_complexity", "--quantize=qkd", "--qat_epochs=3"]
    return faults.run(line, work_directory(), FLAGS.kills, FLAGS.seed)


def watch_memory():
    rows = soak.run(work_directory(), FLAGS.minutes)
    print(soak.verdict(rows))
    return {"cycles": rows, "growth": soak.growth(rows), "allowed": soak.TOLERANCE}


def try_ecosystem():
    unknown = sorted({*FLAGS.steps} - {*ecosystem.STEPS})
    if unknown:
        raise ValueError(f"--steps must be some of {list(ecosystem.STEPS)}. Received: {unknown}.")
    results = Path(FLAGS.json or DOCS / "results" / "ecosystem.json")
    rows = ecosystem.run(results, FLAGS.steps, FLAGS.network[0] if FLAGS.network else "")
    if not FLAGS.json:
        write_models_page()
    return rows


def count_students():
    given = [(network, FLAGS.input_size) for network in FLAGS.network]
    return students.run(given or students.STUDENTS)


def work_directory():
    if not FLAGS.work_dir:
        raise ValueError("Set --work_dir=DIRECTORY, where the runs are made. It must not exist.")
    path = Path(FLAGS.work_dir)
    if path.exists():
        raise ValueError(f"--work_dir={FLAGS.work_dir!r} exists. Expected a new directory; choose another.")
    return path


BENCHMARKS = {
    "arm": count_arm,
    "arm_agreement": compare_on_arm,
    "arm_models": count_models,
    "distiller": measure_distiller,
    "ecosystem": try_ecosystem,
    "faults": count_faults,
    "grouping": measure_grouping,
    "latency": measure_latency,
    "losses": measure_losses,
    "mirrored": measure_mirrored,
    "models": measure_models,
    "models_page": write_models_page,
    "pipeline": measure_pipeline,
    "pruned_segnet": count_pruned_segnet,
    "quantization": compare_quantization,
    "soak": watch_memory,
    "students": count_students,
}


def main(words):
    name = checks.one_of(NAME, BENCHMARKS, "The benchmark")
    if words and BENCHMARKS[name] is not count_arm:
        raise ValueError(f"Unexpected arguments {words}. All options of {name} begin with --.")
    rows = BENCHMARKS[name](*([words] if BENCHMARKS[name] is count_arm else []))
    if FLAGS.json:
        write_json(Path(FLAGS.json), {"benchmark": name, "rows": rows, **provenance()})


if __name__ == "__main__":
    # The word that is not a flag; arm takes the names of files as well.
    NAME = sys.argv.pop(1) if sys.argv[1:] and not sys.argv[1].startswith("-") else None
    command_line.run(main, define_flags, takes_words=True)
