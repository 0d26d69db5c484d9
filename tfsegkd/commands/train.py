"""Trains, distils, quantizes and exports a segmentation network: from images and masks to an int8 .tflite.

    tfsegkd-train --flagfile=configs/quickstart.cfg --output_dir=saved_models/mine

Runs the stages teacher, student_alone, distill, quantize and export, and prune and group on request. Rerun
the same command after an interruption: finished stages are reused, an unfinished one resumes after its last
epoch. --dry_run prints what would be done and how long it would take.
"""

import dataclasses
import os
from functools import partial
from pathlib import Path

import tensorflow as tf
from absl import flags

from tfsegkd import (
    checks,
    data,
    distillation,
    export,
    grouping,
    losses,
    models,
    pruning,
    quantization,
    runtime,
)
from tfsegkd.commands import channel_flags, command_line
from tfsegkd.commands.flag_names import in_flags
from tfsegkd.quantization import QUANTIZERS, Precision
from tfsegkd.recipe import (
    ASSIGNMENTS,
    PREFLIGHT,
    QKD,
    STRATEGIES,
    AutoQuantize,
    Budget,
    Distill,
    Group,
    PretrainedTeacher,
    Prune,
    Quantize,
    Recipe,
    Schedule,
    Search,
    StudentAlone,
    Teacher,
    TrainedStudent,
    TrainingData,
    open_workers,
    plan,
)
from tfsegkd.recipe.budget import KINDS
from tfsegkd.recipe.quantizing import on_logits
from tfsegkd.runtime.in_subprocess import in_subprocess

WEIGHT_BITS = ("8", "4", "2")
ACTIVATION_BITS = ("8", "4")
STAGES = ("teacher", "student_alone", "distill", "prune", "group", "quantize", "export")

# The flags that choose what a stage does.
STAGE_FLAGS = {
    "prune": ("prune", "importance", "scope", "prune_rounds", "prune_distill"),
    "group": ("groups", "group_layers", "group_shape", "group_assignment", "group_distill"),
    "quantize": ("quantize", "quantizer", "weight_bits", "activation_bits"),
}
UNLABELLED_FLAGS = ("unlabelled_per_batch", "unlabelled_in_batch")
BUDGET_FLAGS = ("budget_max_drop", "budget_candidates", "budget_halving")

LISTS = {
    "losses": losses.describe,
    "models": models.describe,
    "datasets": data.describe,
    "importance": lambda: pruning.IMPORTANCES,
}


FLAGS = flags.FLAGS


def define_flags():
    command_line.group("Data")
    command_line.define_data()
    flags.DEFINE_string("train_split", "train", "The training split.")
    flags.DEFINE_string("val_split", "val", "The validation split.")
    flags.DEFINE_string("val_dataset", None, "The validation data set; --dataset by default.")
    flags.DEFINE_string(
        "teacher_dataset",
        None,
        "The data set to train the teacher on, of the same classes; --dataset by default.",
    )
    flags.DEFINE_string(
        "unlabelled",
        None,
        "Additional images without labels, for which only the teacher's outputs are used: a directory, or a "
        "data set, whose masks are ignored.",
    )
    flags.DEFINE_integer(
        "unlabelled_per_batch",
        4,
        "The number of images of --unlabelled that are added to each batch.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "unlabelled_in_batch",
        False,
        "Replace images of the batch by those of --unlabelled instead of enlarging it, so that a step costs "
        "no more.",
    )
    flags.DEFINE_bool("skip_bad_examples", False, "Skip and count examples that cannot be read.")
    flags.DEFINE_string("input_size", "192x256", "HEIGHTxWIDTH of the network's input, in pixels.")
    flags.DEFINE_string("crop_size", None, "HEIGHTxWIDTH of training crops; --input_size by default.")

    command_line.group("Run")
    flags.DEFINE_enum("list", None, list(LISTS), "Only print the choices, one per line.")
    flags.DEFINE_bool("dry_run", False, "Only print what would be done and how long it would take.")
    flags.DEFINE_integer(
        "timed_steps",
        3,
        "The number of steps of each training that --dry_run times; 0 for none.",
        lower_bound=0,
    )
    flags.DEFINE_string("output_dir", "saved_models/run", "The output directory.")
    flags.DEFINE_list(
        "stages",
        [stage for stage in STAGES if stage not in ("prune", "group")],
        f"The stages to run, of {','.join(STAGES)}.",
    )

    command_line.group("Networks and losses")
    flags.DEFINE_string(
        "teacher",
        "deeplab_v3_plus",
        f"A network of {models.names()} with options, or a saved one of any kind; several, "
        f"separated by commas, are averaged, each with its own options, such as "
        f"own.keras,city.tflite(class_map=FILE,windows=true,weight=0.5). {{seed}} in a path stands for "
        f"--seed.",
    )
    command_line.define_trust()
    flags.DEFINE_string(
        "class_map", None, "File that maps the student's classes to a saved teacher's channels."
    )
    flags.DEFINE_string(
        "teacher_classes", None, "File with the names of a saved teacher's classes, one per line."
    )
    flags.DEFINE_string("teacher_size", None, "HEIGHTxWIDTH of a saved teacher's input, with a cache.")
    flags.DEFINE_bool(
        "teacher_windows", False, "Apply a teacher of a fixed input size to sliding windows of this shape."
    )
    flags.DEFINE_bool("teacher_flip", False, "Average a saved teacher over mirror images.")
    flags.DEFINE_string(
        "teacher_weights_split",
        None,
        "A split on which no teacher was trained, to fit the weight of each of several teachers for each "
        "class.",
    )
    flags.DEFINE_string("teacher_weights_dataset", None, "The data set of that split; --dataset by default.")
    flags.DEFINE_list("teacher_scales", ["1"], "Average a saved teacher over these scales of the image.")
    flags.DEFINE_string("student", "mobile_unet", f"A network of {models.names()} with options.")
    flags.DEFINE_string(
        "initialize_from",
        None,
        "A saved network that initializes the student's layers of the same names and shapes, such as an "
        "encoder that was trained alone. {seed} stands for --seed.",
    )
    command_line.renamed("begin_from", "initialize_from")
    flags.DEFINE_multi_string(
        "distill",
        ["pixelwise"],
        f"loss(options)@teacher_layer:student_layer*weight, of {losses.names()}; may be repeated.",
    )
    flags.DEFINE_float(
        "task_weight", 1.0, "Weight of the task loss; 0 trains on the teacher alone.", lower_bound=0
    )
    flags.DEFINE_bool(
        "balanced_terms",
        False,
        "Let the weight of each term of --distill be its share of the task loss' gradient norm, which is "
        "measured during training.",
    )
    flags.DEFINE_bool("class_balanced", False, "Give rare classes higher weights in the task loss.")
    flags.DEFINE_bool(
        "cache_teacher",
        False,
        "Run the teacher once over the training images and store its outputs, beside a saved teacher or in "
        "--output_dir.",
    )
    flags.DEFINE_enum(
        "preflight",
        "refuse",
        PREFLIGHT,
        "What to do if the check before distillation finds an error.",
    )

    command_line.group("A budget")
    flags.DEFINE_string(
        "budget",
        None,
        f"What the network may cost, as kind:number with a kind of {', '.join(KINDS)}, such as arm:60M; "
        f"several with commas between. Input size, stages and width of the student are then chosen: "
        f"candidates are costed, a few tried for a short time, and the best trained. A latency is in ms, by "
        f"--latency_table.",
    )
    flags.DEFINE_float(
        "budget_max_drop",
        None,
        "Points of mean IoU that the network of --budget may be below the teacher on held-out images.",
        0,
        100,
    )
    flags.DEFINE_integer(
        "budget_candidates", 4, "How many networks --budget tries, the best of which is kept.", lower_bound=1
    )
    flags.DEFINE_bool(
        "budget_halving",
        True,
        "Leave out the worse half of the candidates after a fifth of --epochs; without it all are trained to "
        "the end, to see how well short trainings rank them.",
    )

    command_line.group("Pruning")
    flags.DEFINE_string(
        "prune",
        "macs:0.5",
        "The fraction to keep: macs:, params:, latency: or arm: and a number, or one of these words alone "
        "with --importance=cost_complexity, which chooses it. sparsity:0.8 and sparsity:2:4 zero weights "
        "instead.",
    )
    channel_flags.define()
    flags.DEFINE_integer("prune_rounds", 1, "The number of rounds of pruning and training.", lower_bound=1)
    flags.DEFINE_multi_string(
        "prune_distill", [], "Terms between the dense network and the pruned one, as for --distill."
    )
    flags.DEFINE_string(
        "latency_table",
        None,
        "CSV of your device: layer,ms for a latency target of pruning, or file,ms to show in the report.",
    )
    flags.DEFINE_string(
        "dense",
        None,
        "A trained network to prune, group or quantize instead of the run's student; {seed} stands for "
        "--seed.",
    )

    command_line.group("Grouping")
    flags.DEFINE_string("groups", "4", "The final number of groups, or depthwise.")
    flags.DEFINE_list(
        "group_layers",
        [],
        "Names or patterns of convolutions; by default all whose channels --groups divides.",
    )
    flags.DEFINE_float(
        "group_from", 0.1, "Share of training at which weights between groups start to shrink."
    )
    flags.DEFINE_float("group_until", 0.6, "Share at which they are zero; 0 and 0 groups from scratch.")
    flags.DEFINE_enum("group_shape", "linear", [*grouping.SHAPES], "The shape of the schedule.")
    flags.DEFINE_enum("group_assignment", "identity", ASSIGNMENTS, "Which channels form a group.")
    flags.DEFINE_multi_string(
        "group_distill", [], "Terms between the teacher and the grouped network, as for --distill."
    )
    flags.DEFINE_enum(
        "grouped_form",
        grouping.MEASURED,
        [grouping.MEASURED, *grouping.FORMS],
        "The form of grouped convolutions in the .tflite: the one measured to be fastest, or one of the "
        "others.",
    )

    command_line.group("Quantization")
    flags.DEFINE_enum(
        "quantize",
        "qat",
        ["qat", "qkd", "auto"],
        "How the student becomes int8: by quantization-aware training, by QKD, in which the teacher adapts "
        "to it, or by the cheapest method within --max_miou_drop.",
    )
    flags.DEFINE_float(
        "max_miou_drop", 0.5, "Points of mean IoU that --quantize=auto may lose on held-out images.", 0, 100
    )
    flags.DEFINE_string(
        "quantizer",
        "minmax",
        f"How kernels are rounded, one of {', '.join(QUANTIZERS.names())}: ranges read from the values "
        "(minmax), learned steps (lsq), levels in buckets (uniform(bucket_size=256)), or learned ones "
        "(points).",
    )
    flags.DEFINE_enum(
        "weight_bits",
        "8",
        WEIGHT_BITS,
        "Bits of kernels; 4 is for a smaller file, not a faster one, and 2 is for study.",
    )
    flags.DEFINE_enum(
        "activation_bits", "8", ACTIVATION_BITS, "Bits of activations; 4 is for study and cannot be exported."
    )
    flags.DEFINE_integer(
        "output_stride",
        1,
        "Also export model_strideN.tflite, whose logits are N times smaller, for apps that upsample them.",
        lower_bound=1,
    )

    command_line.group("Schedules")
    flags.DEFINE_integer("teacher_epochs", 30, "Epochs of the teacher.", lower_bound=1)
    flags.DEFINE_integer("epochs", 40, "Epochs of the student, alone and distilled.", lower_bound=1)
    flags.DEFINE_integer("prune_epochs", 20, "Epochs after pruning, all rounds together.", lower_bound=1)
    flags.DEFINE_integer(
        "qat_epochs",
        6,
        "Epochs of quantization-aware fine-tuning, all phases of qkd together.",
        lower_bound=1,
    )
    flags.DEFINE_float("teacher_learning_rate", 1e-3, "Peak learning rate of the teacher.", lower_bound=0)
    flags.DEFINE_float("learning_rate", 4e-3, "Peak learning rate of the student.", lower_bound=0)
    flags.DEFINE_float("prune_learning_rate", 2e-3, "Peak learning rate after pruning.", lower_bound=0)
    flags.DEFINE_float("qat_learning_rate", 4e-4, "Peak learning rate of the fine-tuning.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 8, "Images per step.", lower_bound=1)
    flags.DEFINE_bool(
        "ema",
        False,
        "Validate and end every training with the exponential moving average of the weights.",
    )
    flags.DEFINE_float("weight_decay", 1e-4, "Weight decay of kernels (AdamW).", lower_bound=0)

    command_line.group("Augmentation")
    flags.DEFINE_float("min_scale", 0.75, "Smallest random scale of a training image.")
    flags.DEFINE_float("max_scale", 1.5, "Largest random scale of a training image.")
    flags.DEFINE_bool("flip", True, "Flip half of the training images horizontally.")
    flags.DEFINE_float(
        "color_jitter", 1.0, "Strength of the color jitter, relative to the default; 0 for none."
    )

    command_line.group("Machine")
    flags.DEFINE_enum(
        "strategy",
        "none",
        STRATEGIES,
        "The tf.distribute strategy: one device, all devices of this machine, or the workers of TF_CONFIG.",
    )
    flags.DEFINE_integer("seed", 0, "Seed of initial weights, order and augmentation.")
    flags.DEFINE_bool("deterministic", False, "Make training deterministic, bit by bit; slower.")
    flags.DEFINE_integer(
        "halve_at_nan",
        0,
        "How often a training with a NaN loss may go back an epoch and halve the learning rate.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "validate_every", 0, "Epochs between validations during training; 0 for none.", lower_bound=0
    )
    flags.DEFINE_string("web_runtime", None, command_line.WEB_RUNTIME)
    flags.DEFINE_bool(
        "arm", False, f"Count the instructions of the int8 file, for the report, {command_line.ARM}"
    )
    flags.DEFINE_bool("histograms", False, "Write histograms of activations for TensorBoard.")


def main():
    if FLAGS.list:
        command_line.print_choices(LISTS[FLAGS.list]())
        return
    command_line.check_data()
    for stage in FLAGS.stages:
        checks.one_of(stage, STAGES, "--stages")
    for name in ("teacher", "dense", "initialize_from"):
        if path := getattr(FLAGS, name):
            setattr(FLAGS, name, path.replace("{seed}", str(FLAGS.seed)))
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Faults of flags are reported before a file is read.
    terms = distillation.parse_terms(FLAGS.distill)
    size = command_line.size(FLAGS.input_size, "input_size")
    crop_size = command_line.size(FLAGS.crop_size, "crop_size") if FLAGS.crop_size else None
    workers = open_workers(FLAGS.strategy)
    exports = "export" in FLAGS.stages
    check_budget()
    check_saved_networks()
    note_unused()
    check_used(UNLABELLED_FLAGS, "unlabelled")
    check_teacher_dataset()
    recipe = Recipe(
        stages(),
        exports,
        workers,
        grouped_form=FLAGS.grouped_form,
        device_table=device_table(),
        web_runtime=FLAGS.web_runtime,
        output_stride=FLAGS.output_stride,
        arm=FLAGS.arm,
    )
    varied = augmentation()
    splits = (FLAGS.train_split, FLAGS.val_split)
    datasets = (FLAGS.dataset, FLAGS.val_dataset or FLAGS.dataset)
    sources = [data.load(name, split, FLAGS.data_dir) for name, split in zip(datasets, splits, strict=True)]
    check_labels(*sources)
    in_subprocess(partial(rehearse, recipe, terms, sources[0].info, crop_size or size))
    check_a_batch(sources[0])
    check_classes("val_dataset", sources[1], sources[0])
    teacher_source = teacher_images(sources[0]) if FLAGS.teacher_dataset else None
    # Training images are cached while they are counted; validation images keep their own size.
    train, val = (
        read_split(source, f"{name} {split}", keep)
        for source, name, split, keep in zip(sources, datasets, splits, (size, None), strict=True)
    )
    if teacher_source:
        title = f"{FLAGS.teacher_dataset} {FLAGS.train_split}, for the teacher"
        teacher_source = read_split(teacher_source, title, size).source
    for name in train.absent():
        print(f"warning: no pixel of {name!r} in {datasets[0]} {splits[0]}: it cannot be learned")
    unlabelled = None
    if FLAGS.unlabelled:
        unlabelled = read_split(without_masks(train.source.info), FLAGS.unlabelled, size).source
        most = min(len(unlabelled), FLAGS.batch_size - 1 if FLAGS.unlabelled_in_batch else len(unlabelled))
        checks.in_range(FLAGS.unlabelled_per_batch, 1, most, "--unlabelled_per_batch")
    training_data = TrainingData(
        train=train.source,
        val=val.source,
        size=size,
        crop_size=crop_size,
        augmentation=varied,
        seed=FLAGS.seed,
        class_weights=train.class_weights() if FLAGS.class_balanced else None,
        validate_every=FLAGS.validate_every,
        ema=FLAGS.ema,
        histograms=FLAGS.histograms,
        unlabelled=unlabelled,
        unlabelled_per_batch=FLAGS.unlabelled_per_batch if unlabelled else 0,
        unlabelled_in_batch=FLAGS.unlabelled_in_batch and unlabelled is not None,
        teacher_train=teacher_source,
    )
    if FLAGS.dry_run:
        print(plan(recipe, FLAGS.output_dir, training_data, FLAGS.timed_steps))
        return
    if FLAGS.budget:  # what will be chosen is not among the flags
        planned = in_subprocess(partial(plan, recipe, FLAGS.output_dir, training_data, FLAGS.timed_steps))
        print(f"The plan:\n{planned.outline}\n", flush=True)
    recipe.run(FLAGS.output_dir, training_data, flags=command_line.values())


def without_masks(info):
    """Returns the images of --unlabelled."""
    name = FLAGS.unlabelled
    if Path(name).is_dir():
        return data.UnlabelledImages(name, info)
    try:
        return data.WithoutLabels(data.load(name, FLAGS.train_split, FLAGS.data_dir))
    except ValueError as error:
        # Of what looks like a path, how a data set is written would say nothing.
        reason = "Correct the path." if os.sep in name and "(" not in name else error
        raise ValueError(f"--unlabelled={name!r} is neither a directory nor a data set. {reason}") from None


def stages():
    """Returns the chosen stages, in their order."""

    def schedule(epochs, learning_rate):
        return Schedule(
            epochs,
            learning_rate,
            FLAGS.batch_size,
            weight_decay=FLAGS.weight_decay,
            halve_at_nan=FLAGS.halve_at_nan,
        )

    student = schedule(FLAGS.epochs, FLAGS.learning_rate)
    cache = teacher_cache() if FLAGS.cache_teacher else None
    # The group stage takes the network of an earlier stage, or trains one from scratch.
    is_trained = bool(FLAGS.dense or {"student_alone", "distill", "prune"} & {*FLAGS.stages})
    begins = {"student_alone": True, "distill": not FLAGS.dense, "group": not is_trained}
    if FLAGS.initialize_from and not any(begins.get(stage) for stage in FLAGS.stages):
        raise ValueError(
            f"--initialize_from={FLAGS.initialize_from} needs a stage that trains a new student. Expected "
            f"student_alone, distill or group in --stages, and no --dense. Leave --initialize_from out, or "
            f"add such a stage."
        )
    # Only requested stages are created: a student alone needs no teacher's file.
    factories = {
        "teacher": lambda: teacher(schedule(FLAGS.teacher_epochs, FLAGS.teacher_learning_rate)),
        "student_alone": lambda: (
            search(student, distill=(), cache=None)
            if FLAGS.budget
            else StudentAlone(FLAGS.student, student, FLAGS.initialize_from)
        ),
        "distill": lambda: (
            search(student, FLAGS.distill, cache or teacher_cache())
            if FLAGS.budget
            else Distill(
                FLAGS.student,
                student,
                FLAGS.distill,
                task_weight=FLAGS.task_weight,
                cache=cache,
                preflight=FLAGS.preflight,
                initialize_from=FLAGS.initialize_from,
                balanced_terms=FLAGS.balanced_terms,
            )
        ),
        "prune": lambda: Prune(
            FLAGS.prune,
            schedule(FLAGS.prune_epochs, FLAGS.prune_learning_rate),
            FLAGS.importance,
            scope=FLAGS.scope,
            round_to=FLAGS.round_to,
            rounds=FLAGS.prune_rounds,
            distill=FLAGS.prune_distill,
            task_weight=FLAGS.task_weight,
            latency_table=None if times_files() else FLAGS.latency_table,
        ),
        "group": lambda: Group(
            None if is_trained else FLAGS.student,
            student,
            int(FLAGS.groups) if FLAGS.groups.isdigit() else FLAGS.groups,
            FLAGS.group_layers,
            FLAGS.group_from,
            FLAGS.group_until,
            FLAGS.group_shape,
            FLAGS.group_assignment,
            FLAGS.group_distill,
            FLAGS.task_weight,
            cache,
            FLAGS.preflight,
            None if is_trained else FLAGS.initialize_from,
        ),
        "quantize": lambda: quantize(schedule(FLAGS.qat_epochs, FLAGS.qat_learning_rate), cache),
    }
    trained = [TrainedStudent(FLAGS.dense)] if FLAGS.dense else []
    return trained + [make() for name, make in factories.items() if name in FLAGS.stages]


def check_used(names, needed):
    """Refuses flags that say nothing without another one."""
    # The command that a report prints has every flag, the others at their defaults.
    given = [name for name in names if FLAGS[name].value != FLAGS[name].default]
    if given and not getattr(FLAGS, needed):
        raise ValueError(f"--{given[0]} is for --{needed}, which is not given. Add it, or leave this out.")


def check_budget():
    """Refuses flags that leave --budget nothing to do, or nothing to go by."""
    check_used(BUDGET_FLAGS, "budget")
    if not FLAGS.budget:
        return
    wrong = {
        "group": "makes another network of the one that was costed",
        "prune": "makes another network of the one that was costed: prune it in a run of its own",
    }
    found = next((stage for stage in wrong if stage in FLAGS.stages), None)
    if found:
        raise ValueError(
            f"--budget chooses the student, and the stage {found} {wrong[found]}. Expected --stages such as "
            f"student_alone,quantize,export. Received: {','.join(FLAGS.stages)}."
        )
    if len({"student_alone", "distill"} & {*FLAGS.stages}) != 1:
        raise ValueError(
            f"--budget chooses the student in one stage, student_alone or distill. Received: --stages="
            f"{','.join(FLAGS.stages)}. Name one of the two, or leave --budget out."
        )
    for name in ("dense", "initialize_from", "crop_size"):
        if getattr(FLAGS, name):
            raise ValueError(f"--{name} does not go with --budget, which chooses network and input size.")


def check_saved_networks():
    """Refuses saved networks without their data, and says which of them no stage uses."""
    saved = {"dense": FLAGS.dense, "teacher": saved_teachers() and FLAGS.teacher}
    for flag, path in saved.items():
        if path and FLAGS["dataset"].using_default_value:
            raise ValueError(
                f"--{flag}={path} was trained on images of its own. Received: no --dataset, which is then "
                f"{FLAGS.dataset}. Name its data, such as --dataset=folder --data_dir=DIRECTORY."
            )
    if saved["teacher"] and "teacher" not in FLAGS.stages:
        print(f"note: --teacher={FLAGS.teacher} is not used; add teacher and distill to --stages to use it")


def note_unused():
    """Prints the flags of stages that are not in --stages; a flagfile of several runs may have them."""
    for stage, names in STAGE_FLAGS.items():
        given = [name for name in names if FLAGS[name].value != FLAGS[name].default]
        if given and stage not in FLAGS.stages:
            print(f"note: --{given[0]} is not used; add {stage} to --stages to use it")
    if FLAGS.max_miou_drop != FLAGS["max_miou_drop"].default and FLAGS.quantize != "auto":
        print("note: --max_miou_drop is not used; it is for --quantize=auto")


def search(schedule, distill, cache):
    """Returns the stage that finds the student within --budget."""
    by_device = FLAGS.latency_table if "latency" in FLAGS.budget else None
    if by_device and times_files():
        raise ValueError(
            f"--latency_table={by_device} has the columns file,ms. Expected layer,ms, the latency of each "
            f"layer of the largest candidate, for --budget={FLAGS.budget}."
        )
    return Search(
        Budget.parse(FLAGS.budget, by_device),
        schedule,
        distill,
        cache=cache,
        student=FLAGS.student,
        task_weight=FLAGS.task_weight,
        preflight=FLAGS.preflight,
        balanced_terms=FLAGS.balanced_terms,
        candidates=FLAGS.budget_candidates,
        max_drop=FLAGS.budget_max_drop,
        halving=FLAGS.budget_halving,
    )


def quantize(schedule, cache):
    """Returns the quantization stage."""
    precision = Precision(int(FLAGS.weight_bits), int(FLAGS.activation_bits), FLAGS.quantizer)
    if precision.activation_bits == 4 and "export" in FLAGS.stages:
        raise ValueError("TFLite has no 4-bit activations. Leave export out with --activation_bits=4.")
    if FLAGS.quantize == "qkd":
        if FLAGS.balanced_terms:
            raise ValueError("--balanced_terms does not go with --quantize=qkd. Leave one of them out.")
        return QKD(schedule, FLAGS.distill, FLAGS.task_weight, precision, preflight=FLAGS.preflight)
    # Without these stages there may be no teacher.
    distill = FLAGS.distill if {"teacher", "distill"} & {*FLAGS.stages} else ()
    if FLAGS.quantize == "qat":
        return Quantize(
            schedule, distill, FLAGS.task_weight, cache, precision, FLAGS.balanced_terms and bool(distill)
        )
    if precision != Precision():
        raise ValueError(
            "--quantize=auto is for 8 bits and ranges read from the values. Leave out --quantizer, "
            "--weight_bits and --activation_bits, or use --quantize=qat."
        )
    return AutoQuantize(
        schedule,
        distill,
        FLAGS.task_weight,
        cache=cache,
        max_miou_drop=FLAGS.max_miou_drop,
        balanced_terms=FLAGS.balanced_terms and bool(distill),
    )


def times_files():
    """Whether --latency_table has latencies of files, for the report, rather than of layers, for pruning."""
    return bool(FLAGS.latency_table) and runtime.kind_of_table(FLAGS.latency_table) == "file"


def device_table():
    """Returns the latencies of files in --latency_table; None if it has none."""
    if times_files():
        return runtime.DeviceTable(FLAGS.latency_table)
    for_layers = "prune" in FLAGS.stages and FLAGS.prune.startswith("latency")
    if FLAGS.latency_table and not (for_layers or "latency" in (FLAGS.budget or "")):
        print(
            f"warning: --latency_table={FLAGS.latency_table} has latencies of layers, for --prune=latency:…, "
            f"and none of files. The report needs the columns file,ms."
        )
    return None


def saved_teachers():
    """Returns the saved networks of --teacher; none if it is a network to train."""
    kinds = (".keras", ".h5", ".tflite")
    paths = [path for path, _ in distillation.split_members(FLAGS.teacher)]
    if not any(Path(path).suffix in kinds or Path(path).exists() for path in paths):
        return []
    return distillation.parse_members(FLAGS.teacher)


def teacher(schedule):
    """Returns the stage that trains a teacher, uses a saved one of ours, or external ones."""
    members = saved_teachers()
    options = {
        "size": command_line.size(FLAGS.teacher_size, "teacher_size") if FLAGS.teacher_size else None,
        "class_map": FLAGS.class_map,
        "teacher_classes": FLAGS.teacher_classes,
        "windows": FLAGS.teacher_windows,
        "flip": FLAGS.teacher_flip,
        "scales": tuple(command_line.number(scale, "teacher_scales") for scale in FLAGS.teacher_scales),
        **command_line.allowed(),
    }
    if options["size"] and not FLAGS.cache_teacher:
        raise ValueError(
            "--teacher_size needs --cache_teacher: without a cache, teacher and student get the same batch."
        )
    labelled = held_out()
    plain = PretrainedTeacher((), **options) == PretrainedTeacher(()) and labelled is None
    plain = plain and all(each.is_plain for each in members)
    if not members and not plain:
        raise ValueError(
            f"--teacher={FLAGS.teacher!r} is a network to train. --teacher_size, --class_map and the like "
            f"are for a saved one."
        )
    if members and not (plain and len(members) == 1 and in_subprocess(partial(is_keras, members[0].teacher))):
        parts = distillation.split_members(FLAGS.teacher)
        texts = (path if given is None else f"{path}({given})" for path, given in parts)
        return PretrainedTeacher(tuple(texts), **options, held_out=labelled)
    return Teacher(FLAGS.teacher, schedule)


def held_out():
    """Returns the images on which the teachers' weights are fitted; None if they are not."""
    if not FLAGS.teacher_weights_split:
        if FLAGS.teacher_weights_dataset:
            raise ValueError(
                f"--teacher_weights_dataset={FLAGS.teacher_weights_dataset} needs --teacher_weights_split."
            )
        return None
    dataset = "teacher_weights_dataset" if FLAGS.teacher_weights_dataset else "dataset"
    return load_data(dataset, "teacher_weights_split")


def is_keras(path):
    return isinstance(distillation.load_teacher(path), distillation.KerasTeacher)


def teacher_cache():
    """Returns the directory of recorded teacher outputs: beside the teacher, so that all runs share them."""
    saved = saved_teachers()
    return str(
        Path(saved[0].teacher).with_suffix(".cache") if saved else Path(FLAGS.output_dir) / "teacher.cache"
    )


def rehearse(recipe, terms, info, size):
    """Builds the networks and terms once, so that wrong options and layers are found before training."""
    if FLAGS.dense:
        student = TrainedStudent(FLAGS.dense).load(info, size)
    else:
        student = models.build(FLAGS.student, info.num_classes, (*size, 3))
    if FLAGS.initialize_from:
        models.initialize_from(student, FLAGS.initialize_from)
    if recipe.export and recipe.output_stride != 1:
        export.check_output_stride(student, recipe.output_stride)
    teaches = rehearsed_teacher(recipe, info, size)
    # Other students may be those of an earlier run in the directory, and not of --student.
    is_known = bool(FLAGS.dense or {"student_alone", "distill"} & {*FLAGS.stages})
    if teaches is not None and is_known:
        if "distill" not in FLAGS.stages and FLAGS.quantize != "qkd":
            terms = on_logits(FLAGS.distill)  # others are ignored in quantization
        distillation.Distiller(teaches, student, terms)
    if FLAGS.dense and "quantize" in FLAGS.stages:
        quantization.quantize(grouping.as_dense(student))
    for stage in recipe.stages:
        if isinstance(stage, Prune) and is_known:
            stage.check_terms(student)
        elif isinstance(stage, Group) and (stage.model or (is_known and "prune" not in FLAGS.stages)):
            stage.check_terms(teaches, student)


def rehearsed_teacher(recipe, info, size):
    """Returns the teacher of stages that learn from one; None if there is none."""
    stage = next((stage for stage in recipe.stages if stage.name == "teacher"), None)
    learns = {"distill", "quantize"} & {*FLAGS.stages} or ("group" in FLAGS.stages and FLAGS.group_distill)
    if not (stage and learns):
        return None
    if not isinstance(stage, PretrainedTeacher):
        if saved_teachers():
            return models.at_size(models.load(stage.model), size)
        return models.build(stage.model, info.num_classes, (*size, 3))
    try:
        # At the student's size, although a cache may record larger images: the layers are the same.
        teaches = dataclasses.replace(stage, size=None).load(info, size)
    except ValueError:
        if not stage.size:
            raise
        # A network of its own size, which is recorded: its layers cannot be compared here.
        stage.load(info, size)
        return None
    if any(isinstance(stage, QKD) for stage in recipe.stages):
        QKD.check_teacher(teaches)
    return teaches


def check_labels(train, val):
    """Checks that stages have the labels they need; images without classes get those of `val`."""
    if not val.labelled:
        raise ValueError(
            f"{FLAGS.val_dataset or FLAGS.dataset} cannot be used for validation: its images have no "
            f"labels. Name a data set with labels, --val_dataset=NAME."
        )
    if train.labelled:
        return
    trained = {"student_alone"} | (set() if saved_teachers() or FLAGS.teacher_dataset else {"teacher"})
    if FLAGS.task_weight or trained & {*FLAGS.stages}:
        raise ValueError(
            f"--dataset={FLAGS.dataset} has no labels to train on. Expected --task_weight=0, a saved "
            f"--teacher and --stages without student_alone. To add such images to labelled ones, use "
            f"--unlabelled=DIRECTORY."
        )
    if not train.info.class_names:
        train.info = val.info


def check_a_batch(source):
    if len(source) < FLAGS.batch_size:
        raise ValueError(
            f"Split {FLAGS.train_split!r} of {source.info.name} has {len(source)} examples, fewer than one "
            f"batch of {FLAGS.batch_size}. Lower --batch_size."
        )


def check_classes(flag, source, train):
    """Checks that the data set of a flag has the classes of --dataset."""
    found, expected = source.info.class_names, train.info.class_names
    if found != expected:
        raise ValueError(
            f"--{flag}={getattr(FLAGS, flag)} has the classes {found}. Expected those of --dataset: "
            f"{expected}. Name a data set with the same classes."
        )


def check_teacher_dataset():
    if FLAGS.teacher_dataset and (saved_teachers() or "teacher" not in FLAGS.stages):
        raise ValueError(
            f"--teacher_dataset={FLAGS.teacher_dataset} needs a teacher to train. Received: "
            f"--teacher={FLAGS.teacher}, --stages={','.join(FLAGS.stages)}. Leave it out, or name a network "
            f"that is not saved and the stage teacher."
        )


def load_data(dataset, split):
    """Returns the split of a data set, both by their flags, which a fault names."""
    name, part = (getattr(FLAGS, flag) for flag in (dataset, split))
    try:
        return data.load(name, part, FLAGS.data_dir)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"--{dataset}={name}, --{split}={part}: {error}") from None


def teacher_images(train):
    """Returns the images of --teacher_dataset."""
    source = load_data("teacher_dataset", "train_split")
    if not source.labelled:
        raise ValueError(f"--teacher_dataset={FLAGS.teacher_dataset} has no labels to train on.")
    check_classes("teacher_dataset", source, train)
    check_a_batch(source)
    return source


def read_split(source, name, size=None):
    """Reads every example of a split before training."""
    found = data.dataset_statistics(source, FLAGS.skip_bad_examples, size)
    for problem in found.bad.values():
        print(f"skipped: {in_flags(problem, FLAGS)}")
    for note in source.notes:
        print(f"note: {note}")
    note = f", {len(found.bad)} left out" if found.bad else ""
    print(f"{name}: {len(found.source)} examples{note}")
    return found


def augmentation():
    default = data.Augmentation()
    return data.Augmentation(
        FLAGS.min_scale,
        FLAGS.max_scale,
        FLAGS.flip,
        *(
            FLAGS.color_jitter * getattr(default, name)
            for name in ("brightness", "contrast", "saturation", "hue")
        ),
    )


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
