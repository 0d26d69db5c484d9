"""Whether a teacher knows images without labels: how far it agrees with itself on their mirror images."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfsegkd import checks
from tfsegkd.data import Source, resize_image, spread
from tfsegkd.distillation.cache import TeacherCache
from tfsegkd.distillation.teachers import Teacher, load_teacher
from tfsegkd.distillation.teachers.load import Loadable
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.metrics import confusion_matrix, mean_iou

# The logits of an image, and those of its mirror image, mirrored back, by its index.
_BothViews = Callable[[int], tuple[np.ndarray, np.ndarray]]


def mirror_agreement(
    teacher: Loadable, source: Source, size: tuple[int, int], num_images: int = 32
) -> float | None:
    """Returns how far a teacher gives the same classes to images and to their mirror images.

    It takes no labels. Where a teacher guesses, its guesses change with what should not matter; far less
    agreement on `--unlabelled` images than on labelled ones says that it does not know them. A teacher that
    averages both views agrees with itself everywhere, which says nothing.

    Args:
        teacher: Anything that `load_teacher` takes, or the `TeacherCache` of `source`, which has both views.
        source: The images; labels are not used.
        size: (height, width) of the images to give it, unless it takes them at a size of its own.
        num_images: At most so many of them, at equal distances.

    Returns:
        The mean IoU between the two, from 0 to 1; None for a cache without logits.

    Raises:
        ValueError: if there is no image, or `num_images` is not a whole number from 1.

    Example:
        distillation.mirror_agreement(teacher, source, (32, 48))
    """
    checks.whole(num_images, 1, "num_images")
    if not len(source):
        raise ValueError("Mirror agreement needs at least one image. Received: an empty source.")
    if isinstance(teacher, TeacherCache):
        if LOGITS not in teacher.map_shapes:
            return None
        views = _recorded(teacher)
    else:
        views = _computed(load_teacher(teacher), source, size)
    matrix = 0
    for index in spread(len(source), num_images):
        plain, mirrored = (np.asarray(view) for view in views(index))
        classes = plain.argmax(-1), mirrored.argmax(-1)
        matrix = matrix + confusion_matrix(*classes, num_classes=plain.shape[-1], ignore_label=-1)
    return mean_iou(matrix)


def _recorded(cache: TeacherCache) -> _BothViews:
    return lambda index: tuple(cache.read(index, mirrored)[LOGITS] for mirrored in (False, True))


def _computed(teacher: Teacher, source: Source, size: tuple[int, int]) -> _BothViews:
    size = teacher.size_for(source, size)
    logits = tf.function(teacher.feature_extractor([LOGITS]))

    def views(index):
        image = tf.constant(resize_image(source[index][0], size)[np.newaxis], tf.float32)
        mirrored = tf.reverse(logits(tf.reverse(image, [2]))[LOGITS], [2])
        return logits(image)[LOGITS][0], mirrored[0]

    return views
