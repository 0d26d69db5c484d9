"""Cross-image relational distillation."""

import tensorflow as tf

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.losses.base import DistillationLoss, build_part, registry
from tfsegkd.losses.functional import MINUS_INFINITY, divergence, labelled, positions, unit
from tfsegkd.losses.random_stream import RandomStream


@registry.register("cirkd")
@keras.utils.register_keras_serializable("tfsegkd")
class CIRKDLoss(DistillationLoss):
    """Computes the KL divergence between similarities of each pixel to the pixels of other images.

    Features are normalized to length 1 per position, F̂. For each pair (i, j) of images, a row of
    softmax(F̂_i F̂_jᵀ / τ) contains the similarities of a pixel of i to the pixels of j. KL(teacher ‖
    student) is averaged over the rows and over j, the image itself included. With `num_classes`, queues per
    class store pixels and mean features of class regions of the teacher from past batches; the similarities
    to a sample of each queue are compared in the same way and added with `memory_weight`.

    The loss of an image depends on the other images of the batch. Each call compares with the queues first
    and then writes the batch into them. Under a `tf.distribute` strategy the first replica fills them. XLA
    (`jit_compile`) cannot compile the writing; the Distiller refuses it.

    Memory: with A = min(max_anchors, H·W) anchors an image, a few times (N·A)² + N·A·(pixel + region
    samples) floats; N = 8 at the defaults is 17 MB a copy, and 34 MB and 8 MB more with queues. The queues
    hold num_classes·(pixel_queue + region_queue)·C floats: 39 MB for 19 classes and 128 channels.

    Args:
        num_classes: The number of classes, which enables the queues; then labels and the same number of
            channels are needed. None: pairs of images only.
        temperature: τ of the similarities, above 0.
        max_anchors: The maximum number of random positions of an image to compare.
        memory_weight: The weight of each of the two queues.
        pixel_queue, region_queue: Entries per class.
        pixel_samples, region_samples: The number of entries to compare with, over all classes.
        pixels_per_class: The maximum number of pixels per image and class, on average, that are queued.

    Shapes:
        teacher: (N, H, W, Ct). student: (N, H, W, Cs).
        labels: (N, Y, X), needed with `num_classes`.
        returns: (N,).

    Raises:
        ValueError: for an argument out of range; without labels when `num_classes` is set.

    Example:
        loss = losses.CIRKDLoss(num_classes=11, pixel_queue=16, region_queue=16)
        loss(teacher_features, student_features, labels=masks)  # a value for each of two images

    Reference:
        Yang et al., CVPR 2022, https://arxiv.org/abs/2204.06986: pixel relations within the batch, and of
        pixels with the pixels and the regions in memory, weighted 1, 0.1 and 0.1.
        Differs: at most `max_anchors` random positions are used (the authors average-pool, and compare every
        pixel with the queues: 5 GB at 64×128 positions); queues are empty at first, not random, and are
        compared with before they are written; the projection head is the term's adapter.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        temperature: float = 0.1,
        max_anchors: int = 256,
        memory_weight: float = 0.1,
        pixel_queue: int = 2000,
        region_queue: int = 2000,
        pixel_samples: int = 4096,
        region_samples: int = 1024,
        pixels_per_class: int = 16,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.num_classes = None if num_classes is None else checks.whole(num_classes, 1, "num_classes")
        self.temperature = checks.positive(temperature, "temperature")
        self.max_anchors = checks.whole(max_anchors, 1, "max_anchors")
        self.memory_weight = memory_weight
        self.pixel_queue = checks.whole(pixel_queue, 1, "pixel_queue")
        self.region_queue = checks.whole(region_queue, 1, "region_queue")
        self.pixel_samples = checks.whole(pixel_samples, 1, "pixel_samples")
        self.region_samples = checks.whole(region_samples, 1, "region_samples")
        self.pixels_per_class = checks.whole(pixels_per_class, 1, "pixels_per_class")
        # Rows against rows of one network: channels need not match. Rows against the queue's must.
        self.needs_labels = self.same_channels = num_classes is not None
        self.jit_compilable = num_classes is None

    def build(self, input_shape):
        self.random_stream = RandomStream()
        build_part(self.random_stream, None)
        if self.num_classes is not None:
            shape = (self.num_classes, input_shape[-1])
            self.pixels = ClassQueue(*shape, self.pixel_queue, self.pixel_samples, name="pixels")
            self.regions = ClassQueue(*shape, self.region_queue, self.region_samples, name="regions")
            for queue in (self.pixels, self.regions):
                build_part(queue, None)
        super().build(input_shape)

    def compare(self, teacher, student, valid, labels, images):
        teacher, student = (positions(unit(side)) for side in (teacher, student))
        valid = positions(valid[..., None])[..., 0]
        anchors_t, anchors_s, weight = self._anchors(teacher, student, valid)
        loss = self._between_images(anchors_t, anchors_s, weight)
        if self.num_classes is not None:
            for queue in (self.pixels, self.regions):
                entries, filled = queue.sample(self.random_stream)
                rows = self._rows(anchors_t, anchors_s, entries, entries, filled)
                loss += self.memory_weight * _row_mean(rows, weight)
            self._remember(teacher, valid, positions(labels[..., None])[..., 0])
        return loss

    def _anchors(self, teacher, student, valid):
        """Returns at most `max_anchors` positions of each image, valid ones first, and their validity."""
        if student.shape[1] is not None and student.shape[1] <= self.max_anchors:
            return teacher, student, valid
        count = tf.minimum(self.max_anchors, tf.shape(valid)[1])
        chosen = tf.math.top_k(
            valid + self.random_stream.uniform(tf.shape(valid)), count, sorted=False
        ).indices
        return tuple(tf.gather(side, chosen, batch_dims=1) for side in (teacher, student, valid))

    def _between_images(self, teacher, student, weight):
        channels_t, channels_s = teacher.shape[-1], student.shape[-1]
        shape = tf.shape(weight)
        rows = self._rows(
            teacher,
            student,
            tf.reshape(teacher, [-1, channels_t]),
            tf.reshape(student, [-1, channels_s]),
            tf.reshape(weight, [-1]),
            group=shape[0],
        )
        # rows: (N, A, N), the divergence of each anchor's row over the anchors of each image.
        # For an image without a valid anchor both softmaxes are uniform, which adds 0.
        images = tf.reduce_sum(tf.cast(tf.reduce_any(weight > 0, 1), tf.float32))
        return _row_mean(tf.math.divide_no_nan(tf.reduce_sum(rows, -1), images), weight)

    def _rows(self, teacher, student, others_t, others_s, present, group=None):
        """Returns the KL of each anchor's softmax over `others`, or over each of `group` parts of them."""
        logs = []
        for anchors, others in ((teacher, others_t), (student, others_s)):
            similarity = tf.einsum("nac,kc->nak", anchors, others) / self.temperature
            similarity += MINUS_INFINITY * (1 - present)
            if group is not None:
                shape = tf.shape(similarity)
                similarity = tf.reshape(similarity, [shape[0], shape[1], group, -1])
            logs.append(tf.nn.log_softmax(similarity))
        return divergence(*logs)

    def _remember(self, teacher, valid, labels):
        labels = tf.where(labelled(valid, labels, self.num_classes) > 0, labels, self.num_classes)
        images = tf.shape(labels)[0]
        # One segment per image and class; an additional class for void.
        segment = labels + (self.num_classes + 1) * tf.range(images)[:, None]
        sums = tf.math.unsorted_segment_sum(teacher, segment, images * (self.num_classes + 1))
        present = tf.reduce_any(sums != 0, -1)
        classes = tf.tile(tf.range(self.num_classes + 1), [images])
        self.regions.write(
            self.random_stream, unit(sums), tf.where(present, classes, self.num_classes), images
        )
        labels = tf.reshape(labels, [-1])
        features = tf.reshape(teacher, [-1, teacher.shape[-1]])
        self.pixels.write(self.random_stream, features, labels, self.pixels_per_class * images)

    def get_config(self):
        names = (
            "num_classes",
            "temperature",
            "max_anchors",
            "memory_weight",
            "pixel_queue",
            "region_queue",
            "pixel_samples",
            "region_samples",
            "pixels_per_class",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class ClassQueue(keras.layers.Layer):
    """A queue of the latest vectors of each class, of the same length for all; it has no `call`.

    Args:
        num_classes: Number of classes.
        channels: The length of a vector.
        size: Entries per class.
        samples: The number of entries that `sample` returns, over all classes.
    """

    def __init__(self, num_classes: int, channels: int, size: int, samples: int, name: str):
        super().__init__(name=name, dtype="float32", trainable=False)
        self.num_classes, self.channels, self.size = num_classes, channels, size
        self.per_class = -(-samples // num_classes)

    def build(self, input_shape):
        options = {
            "trainable": False,
            "initializer": "zeros",
            "synchronization": tf.VariableSynchronization.AUTO,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.entries = self.add_weight(
            name="entries", shape=(self.num_classes, self.size, self.channels), **options
        )
        self.written = self.add_weight(name="written", shape=(self.num_classes,), dtype=tf.int32, **options)
        super().build(input_shape)

    def sample(self, random_stream: RandomStream):
        """Returns the same number of entries of each class, flat, and 1 for filled ones: (K, C), (K,)."""
        filled = tf.minimum(self.written, self.size)
        if self.per_class >= self.size:
            slots = tf.tile(tf.range(self.size)[None], [self.num_classes, 1])
            entries = self.entries
        else:
            draw = random_stream.uniform([self.num_classes, self.per_class])
            slots = tf.cast(draw * tf.cast(filled, tf.float32)[:, None], tf.int32)
            # A random number just below 1 can round up to 1.
            slots = tf.minimum(slots, tf.maximum(filled - 1, 0)[:, None])
            entries = tf.gather(self.entries, slots, batch_dims=1)
        present = tf.cast(slots < filled[:, None], tf.float32)
        return tf.reshape(entries, [-1, entries.shape[-1]]), tf.reshape(present, [-1])

    def write(self, random_stream: RandomStream, vectors, labels, most):
        """Overwrites the oldest entries of each class with up to `most` random vectors.

        Shapes:
            vectors: (B, C). labels: (B,), int32; `num_classes` marks vectors to skip.
        """
        draw = random_stream.uniform(tf.shape(labels))
        order = tf.argsort(tf.cast(labels, tf.float32) + draw * 0.99)
        labels = tf.gather(labels, order)
        # The number of entries of the same class before this one, in random order.
        rank = tf.range(tf.size(labels)) - tf.searchsorted(labels, labels)
        keep = tf.where((labels < self.num_classes) & (rank < tf.minimum(most, self.size)))[:, 0]
        labels, rank = tf.gather(labels, keep), tf.gather(rank, keep)
        slots = (tf.gather(self.written, labels) + rank) % self.size
        self.entries.assign(
            tf.tensor_scatter_nd_update(
                self.entries, tf.stack([labels, slots], -1), tf.gather(vectors, tf.gather(order, keep))
            )
        )
        added = tf.math.bincount(labels, minlength=self.num_classes, maxlength=self.num_classes)
        # Wraps at twice the size, and stays at or above the size once the queue is full.
        total = self.written + added
        self.written.assign(tf.where(total >= 2 * self.size, self.size + total % self.size, total))


def _row_mean(rows, weight):
    """Returns the mean of the valid rows of each image: (N, A), (N, A) → (N,)."""
    total = tf.reduce_sum(tf.where(weight > 0, rows, 0.0), 1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weight, 1))
