"""Exports a network as int8 .tflite files for apps.

    tfsegkd-export --model=student_qat.keras --labels=labels.txt --output_dir=DIRECTORY
    tfsegkd-export --model=student_qat.keras --labels=labels.txt --output_dir=DIRECTORY --bundle

A bundle contains more variants of the network, a test image, code for the app and a README. A network that
is not quantized is calibrated on the images of --calibration.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
from absl import flags

from tfsegkd import data, export, models, runtime
from tfsegkd.commands import command_line
from tfsegkd.data import DatasetInfo
from tfsegkd.data.images import IMAGE_SUFFIXES
from tfsegkd.data.paths import files_in
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.evaluation import evaluate
from tfsegkd.quantization import post_training

FLAGS = flags.FLAGS
_MOST_REPRESENTATIVE = 64


def define_flags():
    flags.DEFINE_string("model", None, "A saved network, quantized by tfsegkd-train or not.", required=True)
    flags.DEFINE_string("output_dir", None, "The output directory.", required=True)
    flags.DEFINE_string(
        "labels", None, "A text file with a class on each line; the classes of --dataset by default."
    )
    flags.DEFINE_bool("overwrite", False, "Overwrite existing files.")
    flags.DEFINE_bool("bundle", False, "Write everything that an Android app needs.")
    flags.DEFINE_string(
        "calibration",
        None,
        "Calibration images for a network that is not quantized: a directory, or an .npy (N, H, W, 3) of "
        "its input size.",
    )
    flags.DEFINE_alias("representative", "calibration")  # its name before 0.2
    flags.DEFINE_string(
        "dataset", None, f"For the bundle: the data set to evaluate on, one of {data.names()}."
    )
    flags.DEFINE_string("data_dir", None, "The directory of --dataset.")
    flags.DEFINE_string("split", "val", "The split of --dataset to evaluate on.")
    flags.DEFINE_string("golden", None, "For the bundle: the test image for devices.")
    flags.DEFINE_string(
        "latency_table", None, "For the bundle: CSV file,ms of your device, for the model card."
    )
    flags.DEFINE_string("web_runtime", None, f"For the bundle: {command_line.WEB_RUNTIME}")
    flags.DEFINE_bool("arm", False, f"For the bundle: count the instructions of each file {command_line.ARM}")
    flags.DEFINE_integer(
        "output_stride",
        1,
        "Also write model_strideN.tflite, whose logits are N times smaller, for apps that upsample them.",
        lower_bound=1,
    )


def main():
    alone = [
        name for name in ("dataset", "golden", "latency_table", "web_runtime", "arm") if getattr(FLAGS, name)
    ]
    if alone and not FLAGS.bundle:
        raise ValueError(f"--{alone[0]} is for a bundle. Add --bundle, or leave it out.")
    if FLAGS.bundle and FLAGS.output_stride != 1:
        raise ValueError(
            "--output_stride does not apply to a bundle, which always contains smaller logits. Leave it out."
        )
    model = models.load(FLAGS.model)
    if model.output_shape[-1] == 1 and not runtime.is_quantization_aware(model):
        # A class and its background, which have two names.
        model, _ = models.adopt(model)
    source = data.load(FLAGS.dataset, FLAGS.split, FLAGS.data_dir) if FLAGS.dataset else None
    if source is not None and not source.labelled:
        raise ValueError(
            f"--dataset={FLAGS.dataset} has no labels to evaluate the bundle on. Name a data set with "
            f"labels, or leave it out."
        )
    info = classes(model, source)
    images = calibration_images(tuple(model.input_shape[1:3]))
    if FLAGS.bundle:
        write_bundle(model, info, images, source)
        return
    if images is not None:
        model = post_training(model, images)
    directory = Path(FLAGS.output_dir)
    directory.mkdir(parents=True, exist_ok=True)
    for name, options in export.variants(FLAGS.output_stride).items():
        report = export.export_tflite(
            model, directory / name, metadata=info, overwrite=FLAGS.overwrite, **options
        )
        print(json.dumps(dataclasses.asdict(report), indent=2))


def write_bundle(model, info, images, source):
    def measure(path):
        found = evaluate(path, source)
        return {
            "mean_iou": found.mean_iou,
            "pixel_accuracy": found.pixel_accuracy,
            "iou": found.iou,
            "images": found.num_images,
            "dataset": source.info.name,
            "split": FLAGS.split,
        }

    size = tuple(model.input_shape[1:3])
    card = export.write_bundle(
        model,
        FLAGS.output_dir,
        info,
        golden(size, images, source),
        images,
        measure if source else None,
        runtime.DeviceTable(FLAGS.latency_table) if FLAGS.latency_table else None,
        source=Path(FLAGS.model).name,
        overwrite=FLAGS.overwrite,
        web_runtime=FLAGS.web_runtime,
        arm=FLAGS.arm,
    )
    for one in card.files:
        device = "" if one.device_ms is None else f"   {one.device_ms:.2f} ms on your device"
        counted = one.arm_instructions
        arm = (
            "" if counted is None else f"   {counted / 1e6:,.1f} M instructions on {card.timing['arm_core']}"
        )
        print(f"{one.file:22} {one.file_bytes / 1000:8,.0f} KB {one.latency_ms:8.2f} ms here{device}{arm}")
    for name, why in card.left_out.items():
        print(f"{name:22} left out: {why}")
    if card.accuracy:
        print(f"mean IoU {100 * card.accuracy['mean_iou']:.2f} on {card.accuracy['images']} images")
    print(f"golden mask: {100 * card.golden['agreement']:.2f} % of its pixels are the network's")
    print(f"{card.try_page['file']}: {card.try_page['note']}")
    print(f"Read {Path(FLAGS.output_dir) / 'README.md'}")


def classes(model, source):
    """Returns the classes of the network's logits."""
    if not FLAGS.labels and source is None:
        raise ValueError(
            "The names of the classes are unknown. Pass --labels=labels.txt, with a name on each line."
        )
    if not FLAGS.labels:
        return source.info
    labels = data.read_labels(FLAGS.labels)
    if len(labels) != model.output_shape[-1]:
        raise ValueError(
            f"{FLAGS.labels!r} names {len(labels)} classes and {FLAGS.model!r} predicts "
            f"{model.output_shape[-1]}. Pass the labels that the network was trained with."
        )
    palette = data.distinct_colors(len(labels))
    if source and source.info.num_classes == len(labels):
        palette = source.info.palette
    return DatasetInfo(source.info.name if source else "labels", labels, palette)


def calibration_images(size):
    """Returns the images of --calibration; None without it."""
    if not FLAGS.calibration:
        return None
    path = Path(FLAGS.calibration)
    if path.suffix == ".npy":
        if not path.is_file():
            raise FileNotFoundError(f"No file at --calibration={str(path)!r}.")
        return np.load(path, allow_pickle=False)
    found = files_in(path, IMAGE_SUFFIXES, below=True) if path.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"--calibration={str(path)!r} contains no image. Expected a directory of images such as "
            f"the network will get."
        )
    # Evenly spaced, because neighbouring images are similar.
    step = -(-len(found) // _MOST_REPRESENTATIVE)
    return np.stack([data.resize_image(data.read_image(file), size) for file in found[::step]])


def golden(size, images, source):
    """Returns the image of --golden, or else the first available one."""
    if FLAGS.golden:
        image = data.read_image(FLAGS.golden)
    elif source is not None:
        image = source[0][0]
    elif images is not None:
        image = np.clip(np.rint(images[0]), 0, 255).astype(np.uint8)
    else:
        image = RoadScenes("val", num_images=1)[0][0]
    return data.resize_image(image, size)


def run():
    """The entry point of the command."""
    command_line.run(main, define_flags)


if __name__ == "__main__":
    run()
