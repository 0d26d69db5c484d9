"""What it costs to bring frames from files into a step of training, against the step itself."""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from benchmarks.interleaved import Seconds, interleaved, ratio
from benchmarks.rows import Column, Row, table
from tfsegkd import data, models
from tfsegkd._keras import keras
from tfsegkd.losses import SegmentationLoss

STUDENT = "mobile_unet"
_FRAMES = 32
_STEP = "a step on one batch"
_FED, _FED_ANEW = "steps on kept frames", "steps, decoding each time"
_BATCHES, _BATCHES_ANEW = "batches of kept frames", "batches, decoding each time"
_COLUMNS = (
    Column("an image of", "what"),
    Column("ms", "milliseconds", "{:,.2f}"),
    Column("processor ms", "cpu_milliseconds", "{:,.2f}"),
    Column("over a step", "ratio", "{:,.2f}"),
    Column("of processor time", "cpu_ratio", "{:,.2f}"),
)


def run(
    size: tuple[int, int] = (192, 256),
    batch_size: int = 8,
    rounds: int = 20,
    student: str = STUDENT,
    frame_size: tuple[int, int] = (360, 480),
    batches_per_round: int = 24,
) -> list[Row]:
    """Times the parts of the way from a file into a step in turn; prints a table and what bounds the speed.

    Frames are road scenes in files, as PNG with a mask, of the size of CamVid's.

    Args:
        size: (height, width) of the images in a batch.
        batch_size: Images a batch.
        rounds: How often each part is timed.
        student: Spec of the network.
        frame_size: (height, width) of the images in the files.
        batches_per_round: How many batches are made or taken in a round. With few of them the time to set a
            pipeline going, which training spends once, outweighs all else.

    Returns:
        A row for each part: `what` was timed, medians over the rounds of its `milliseconds` for an image by
        the clock on the wall and of all processors together (`cpu_milliseconds`), and both over those of a
        step on a batch that is there already (`ratio`, `cpu_ratio`).
    """
    with tempfile.TemporaryDirectory() as directory:
        write_frames(Path(directory), max(_FRAMES, batch_size), frame_size)
        cases = _cases(Path(directory), size, batch_size, student, batches_per_round)
        seconds = interleaved({name: run for name, (run, _) in cases.items()}, rounds, warmup=1)
    rows = _rows(seconds, {name: images for name, (_, images) in cases.items()})
    print(table(_COLUMNS, rows))
    print(bound(rows))
    return rows


def write_frames(directory: Path, count: int, size: tuple[int, int]) -> None:
    """Writes road scenes as --dataset=folder reads them."""
    scenes = data.load(f"road_scenes(height={size[0]}, width={size[1]}, num_images={count})", "train")
    for kind in ("images", "masks"):
        (directory / kind).mkdir()
    for name, pictures in zip(scenes.names, scenes, strict=True):
        for kind, picture in zip(("images", "masks"), pictures, strict=True):
            Image.fromarray(picture).save(directory / kind / f"{name}.png")
    (directory / "labels.txt").write_text("\n".join(scenes.info.class_names))


def _cases(directory, size, batch_size, student, steps) -> dict[str, tuple[Callable[[], object], int]]:
    """What to run, by name, and how many images it treats."""
    kept, anew = (data.load("folder", "all", directory) for _ in range(2))
    anew.cache_bytes = 0
    data.dataset_statistics(kept, size=size)
    examples, images = list(kept), steps * batch_size
    plain = replace(data.Augmentation(), brightness=0, contrast=0, saturation=0, hue=0)

    def batches(source, augmentation=None):
        return data.training_batches(source, size, batch_size, augmentation=augmentation)

    def through(stream):
        return lambda: [None for _ in stream.take(steps)], images

    step, one = _step(student, size, kept.info), batches(kept).take(1).cache().repeat()

    def fed(stream):
        def train():
            iterator = iter(stream)
            for _ in range(steps):
                step(iterator)

        return train, images

    return {
        "decode": (lambda: list(anew), len(anew)),
        "resize": (
            lambda: [
                (data.resize_image(image, size), data.resize_mask(mask, size)) for image, mask in examples
            ],
            len(examples),
        ),
        "batches without color jitter": through(batches(kept, plain)),
        _BATCHES: through(batches(kept)),
        _BATCHES_ANEW: through(batches(anew)),
        _STEP: fed(one),
        _FED: fed(batches(kept)),
        _FED_ANEW: fed(batches(anew)),
    }


def _step(student, size, info) -> Callable:
    model = models.build(student, info.num_classes, (*size, 3))
    model.compile(keras.optimizers.AdamW(1e-3), loss=SegmentationLoss(info.ignore_label))
    return model.make_train_function()


def _rows(seconds: Mapping[str, Seconds], images: Mapping[str, int]) -> list[Row]:
    step = seconds[_STEP]
    return [
        {
            "what": what,
            "milliseconds": 1000 * statistics.median(taken.wall) / images[what],
            "cpu_milliseconds": 1000 * statistics.median(taken.cpu) / images[what],
            "ratio": ratio(taken.wall, step.wall) * images[_STEP] / images[what],
            "cpu_ratio": ratio(taken.cpu, step.cpu) * images[_STEP] / images[what],
        }
        for what, taken in seconds.items()
    ]


def bound(rows: Sequence[Row]) -> str:
    """What holds training up, in a sentence for each way that frames come."""
    by_name = {row["what"]: row for row in rows}
    sentences = []
    for batches, fed in ((_BATCHES, _FED), (_BATCHES_ANEW, _FED_ANEW)):
        behind = by_name[batches]["milliseconds"] > by_name[_STEP]["milliseconds"]
        holds = "the pipeline" if behind else "the network"
        more = 100 * (by_name[fed]["ratio"] - 1)
        sentences.append(f"{batches}: {holds} is the bound; a step takes {more:+.0f} %.")
    return "\n".join(sentences)
