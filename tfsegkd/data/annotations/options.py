"""What the user says of annotations, whatever tool they come from."""

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
    """The options that data sets of outlines share, checked.

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
    """A split as a source, with what is to be said of it.

    Args:
        options: What the user has said.
        split: The split.
        examples: Of this split, or of all where `is_split` is False, which are then divided.
        words: The classes.
        unannotated: How many images there are that nobody has annotated.
        is_split: Whether whoever has annotated has made splits.

    Raises:
        ValueError: if no example is left, two have one name, or photographs are turned and nothing tells
            what was annotated.
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
        words.info, examples, Drawing(words.rest, options.order, like_image), (*notes, *turned)
    )
