"""Options of data sets with outlines."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tfsegkd import checks
from tfsegkd.data import splits
from tfsegkd.data.annotations.source import ORDERS, Annotated, AnnotatedSource, Drawing
from tfsegkd.data.annotations.vocabulary import UNLABELLED_AS, Vocabulary
from tfsegkd.data.mask_conventions import mask_orientation

_UNANNOTATED = ("background", "leave_out")


@dataclass(frozen=True)
class Options:
    """The checked options of data sets with outlines.

    Args:
        dataset: The data set's name.
        classes, unlabelled, order, unannotated, mask_orientation: As of `coco`.

    Raises:
        ValueError: for an unknown value.
    """

    dataset: str
    classes: Sequence[str] | None
    unlabelled: str
    order: str
    unannotated: str
    mask_orientation: str | None

    def __post_init__(self):
        for name, choices in (
            ("unlabelled", UNLABELLED_AS),
            ("order", ORDERS),
            ("unannotated", _UNANNOTATED),
            ("mask_orientation", (None, "own", "image")),
        ):
            checks.one_of(getattr(self, name), choices, f"{name} of {self.dataset}")


def opened(
    options: Options,
    split: str,
    examples: Sequence[Annotated],
    words: Vocabulary,
    unannotated: int,
    is_split: bool,
) -> AnnotatedSource:
    """Returns a split as a source, with notes.

    Args:
        options: The options.
        split: The split.
        examples: The examples of this split, or all if `is_split` is False, which are then divided.
        words: The classes.
        unannotated: The number of images without annotations.
        is_split: Whether the annotations have splits.

    Raises:
        ValueError: if no example is left, two have the same name, or photographs are rotated and the
            annotated orientation is unknown.
    """
    examples = sorted(examples, key=lambda example: splits.in_order(example.name))
    names = [example.name for example in examples]
    if len(set(names)) < len(names):
        twice = next(name for name, other in itertools.pairwise(names) if name == other)
        raise ValueError(
            f"Two entries of the annotations of {options.dataset} are of one image, {twice!r}. Expected one "
            f"each. Delete one, or join their annotations."
        )
    notes = list(words.notes)
    if unannotated:
        fate = "left out" if options.unannotated == "leave_out" else "background as a whole"
        notes.append(f"{unannotated} images have no annotation: they are {fate}.")
    sized = [(example.image, example.size) for example in examples if example.size]
    like_image, turned = mask_orientation(
        sized, options.mask_orientation, options.dataset, lambda size: (tuple(size), 1)
    )
    if not is_split:
        examples, note = splits.made(examples, split)
        notes.append(note)
    if not examples:
        raise ValueError(
            f"Split {split!r} of {options.dataset} is empty. Expected annotated images; with fewer than "
            f"five, use `split='all'`."
        )
    return AnnotatedSource(
        words.info, examples, Drawing(words.rest, options.order, like_image), notes=(*notes, *turned)
    )
