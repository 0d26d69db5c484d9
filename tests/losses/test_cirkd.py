import numpy as np
import tensorflow as tf
from loss_battery import CLASSES, Case, check_loss, kl, softmax, valid_positions

from tfsegkd.losses import CIRKDLoss
from tfsegkd.losses.cirkd import ClassQueue
from tfsegkd.losses.random_stream import RandomStream


def random_stream():
    stream = RandomStream()
    stream.build()
    return stream


def rows_of(teacher, student, valid):
    """Unit vectors of the valid positions of each image, teacher and student."""
    found = []
    for n in range(len(valid)):
        sides = valid_positions(valid[n], teacher[n], student[n])
        found.append([np.array([row / np.linalg.norm(row) for row in side]) for side in sides])
    return found


def row_divergence(t_row, s_row, others_t, others_s, temperature):
    return kl(softmax(others_t @ t_row, temperature), softmax(others_s @ s_row, temperature))


def between_images(teacher, student, labels, valid, images, temperature=0.1):
    rows, values = rows_of(teacher, student, valid), []
    for own_t, own_s in rows:
        each = [
            np.mean([row_divergence(t, s, *other, temperature) for other in rows if len(other[0])])
            for t, s in zip(own_t, own_s, strict=True)
        ]
        values.append(np.mean(each) if each else 0.0)
    return np.array(values)


def test_battery():
    check_loss(CIRKDLoss(), between_images, per_example=False, tolerance=1e-4)


def test_battery_with_channels_that_differ():
    check_loss(
        CIRKDLoss(),
        between_images,
        channels=(6, 3),
        per_example=False,
        zero_at_equality=False,
        tolerance=1e-4,
    )


def filled(case, **options):
    """A loss whose queues have seen one batch, every vector of it."""
    options = {
        "num_classes": CLASSES,
        "pixel_queue": 64,
        "region_queue": 8,
        "pixels_per_class": 100,
        **options,
    }
    loss = CIRKDLoss(**options)
    loss(case.teacher, case.student, **case.inputs())
    return loss


def queued(case):
    """What the batch puts into the queues, by plain loops: pixels, regions."""
    pixels, regions = [], []
    for n in range(4):
        for label in range(CLASSES):
            members = np.argwhere((case.valid[n] > 0) & (case.labels[n] == label))
            vectors = [case.teacher[n, y, x] / np.linalg.norm(case.teacher[n, y, x]) for y, x in members]
            pixels += [(label, vector) for vector in vectors]
            if vectors:
                mean = np.mean(vectors, axis=0)
                regions.append((label, mean / np.linalg.norm(mean)))
    return pixels, regions


def test_the_queues_hold_the_teachers_pixels_and_regions_by_class():
    case = Case()
    loss = filled(case)
    for queue, expected in zip((loss.pixels, loss.regions), queued(case), strict=True):
        for label in range(CLASSES):
            want = np.array([vector for own, vector in expected if own == label])
            got = queue.entries.numpy()[label, : len(want)]
            assert queue.written.numpy()[label] == len(want)
            assert not queue.entries.numpy()[label, len(want) :].any()
            np.testing.assert_allclose(np.sort(got, 0), np.sort(want, 0), atol=1e-6)


def test_battery_with_full_queues():
    case = Case()
    pixels, regions = queued(case)

    def oracle(teacher, student, labels, valid, images):
        total = between_images(teacher, student, labels, valid, images)
        for n, (own_t, own_s) in enumerate(rows_of(teacher, student, valid)):
            for queue in (pixels, regions):
                others = np.array([vector for _, vector in queue])
                each = [row_divergence(t, s, others, others, 0.1) for t, s in zip(own_t, own_s, strict=True)]
                total[n] += 0.1 * np.mean(each) if each else 0.0
        return total

    check_loss(filled(case), oracle, per_example=False, tolerance=1e-4)


def test_empty_queues_add_nothing():
    case = Case()
    empty = CIRKDLoss(num_classes=CLASSES)(case.teacher, case.student, **case.inputs())
    np.testing.assert_allclose(empty, CIRKDLoss()(case.teacher, case.student, **case.inputs()), rtol=1e-6)


def test_a_full_queue_keeps_the_latest():
    queue = ClassQueue(num_classes=2, channels=1, size=3, samples=4, name="queue")
    queue.build(None)
    for step in range(1, 9):
        queue.write(random_stream(), tf.constant([[float(step)], [-1.0]]), tf.constant([1, 2]), most=5)
        assert queue.written.numpy()[1] >= min(step, 3) and queue.written.numpy()[1] < 6
        latest = list(range(max(1, step - 2), step + 1))
        kept = np.sort(queue.entries.numpy()[1, :, 0])
        np.testing.assert_array_equal(kept, [0] * (3 - len(latest)) + latest)
    assert not queue.entries.numpy()[0].any(), "class 2 of 2 is what is not to be written"


def test_more_of_a_class_than_its_places_fill_each_place_once():
    queue = ClassQueue(num_classes=1, channels=1, size=3, samples=4, name="queue")
    queue.build(None)
    queue.write(random_stream(), tf.range(7, dtype=tf.float32)[:, None], tf.zeros(7, tf.int32), most=7)
    assert queue.written.numpy() == [3] and len(set(queue.entries.numpy().ravel())) == 3


def test_a_sample_is_balanced_and_of_filled_places_only():
    queue = ClassQueue(num_classes=3, channels=1, size=100, samples=30, name="queue")
    queue.build(None)
    queue.write(random_stream(), tf.constant([[1.0], [2.0], [3.0]]), tf.constant([0, 0, 2]), most=5)
    entries, present = (part.numpy() for part in queue.sample(random_stream()))
    assert entries.shape == (30, 1)
    np.testing.assert_array_equal(present, [1] * 10 + [0] * 10 + [1] * 10)
    assert set(entries[:10, 0]) <= {1.0, 2.0} and set(entries[20:, 0]) == {3.0}


def test_at_most_so_many_pixels_a_class_are_queued():
    case = Case()
    loss = filled(case, pixels_per_class=2)
    pixels, _ = queued(case)
    for label in range(CLASSES):
        there = sum(own == label for own, _ in pixels)
        assert loss.pixels.written.numpy()[label] == min(there, 2 * 4)


def test_a_cap_on_the_anchors_prefers_valid_positions():
    case = Case(height=8, width=8)
    valid = np.zeros_like(case.full_valid)
    valid[:, :4, :4] = 1
    capped, exact = (CIRKDLoss(max_anchors=cap)(case.teacher, case.student, valid=valid) for cap in (4, 64))
    # Four valid positions an image: a cap of four keeps them all.
    np.testing.assert_allclose(capped, exact, rtol=1e-5)


def test_the_queues_are_not_trained_but_saved():
    loss = filled(Case())
    assert not loss.trainable_variables
    assert {weight.name.split("/")[-1] for weight in loss.weights} == {"entries:0", "written:0", "state:0"}
