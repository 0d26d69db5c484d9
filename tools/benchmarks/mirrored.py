"""How far teachers agree with themselves on mirror images, beside how well they do there by the labels."""

from collections.abc import Sequence

from benchmarks.rows import Column, Row, table
from tfsegkd.data import Source, spread
from tfsegkd.data.statistics import Subset
from tfsegkd.distillation import load_teacher, mirror_agreement, parse_members
from tfsegkd.evaluation import Predictor, evaluate

_COLUMNS = (
    Column("teacher"),
    Column("images"),
    Column("mean IoU %", "mean_iou", "{:.1f}", 100),
    Column("mirror agreement %", "mirror_agreement", "{:.1f}", 100),
)


def run(
    teachers: Sequence[str], images: Sequence[tuple[str, Source]], size: tuple[int, int], num_images: int = 32
) -> list[Row]:
    """Measures each teacher on some of each images, and prints a table.

    Args:
        teachers: As of the flag `--teacher`; several in one are a mixture.
        images: Labelled images, with what the table calls them.
        size: (height, width) of the images for a teacher of any size.
        num_images: So many of them, at equal distances.

    Returns:
        A row for each `teacher` and `images`: `mean_iou` by the labels, and the `mirror_agreement`.

    Raises:
        ValueError: if there is no teacher, or there are no images.
    """
    if not (teachers and images):
        raise ValueError(
            f"Nothing to measure. Name teachers, --network=FILE, and images, --images=DATASET@SPLIT. "
            f"Received: {list(teachers)} and {[name for name, _ in images]}."
        )
    rows = []
    for text in teachers:
        for name, source in images:
            some = Subset(source, spread(len(source), num_images))
            teacher = load_teacher(parse_members(text), class_names=source.info.class_names)
            predictor = Predictor(teacher, teacher.size_for(some, size))
            rows.append(
                {
                    "teacher": text,
                    "images": name,
                    "mean_iou": evaluate(predictor, some).mean_iou,
                    "mirror_agreement": mirror_agreement(teacher, some, size, num_images),
                }
            )
    print(table(_COLUMNS, rows, words=2))
    return rows
