"""Trains by one device and by two, and prints what came of it as JSON; run by test_strategies.py."""

import contextlib
import json

import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tiny_networks import batch, network  # noqa: E402

from tfsegkd._keras import keras  # noqa: E402
from tfsegkd.distillation import Distiller, parse_terms  # noqa: E402

scaling = keras.mixed_precision.LossScaleOptimizer
CASES = {
    "terms": (
        ["pixelwise*0.5*warm_up(steps=2)", "hint@stage:stage*stop(step=3)"],
        lambda: keras.optimizers.AdamW(0.01),
        {},
    ),
    "accumulation": (
        ["pixelwise", "hint@stage:stage"],
        lambda: scaling(keras.optimizers.Adam(0.01)),
        {"accumulate_steps": 2},
    ),
    "critic": (["holistic(width=2)*0.1"], lambda: keras.optimizers.SGD(0.01), {}),
}


def run(strategy, specs, optimizer, options):
    images, masks = batch(7)
    masks[:] = np.roll(masks, 2, axis=0)
    with strategy.scope() if strategy else contextlib.nullcontext():
        teacher, student = network("teacher", 9, seed=1), network("student", 5, seed=2)
        # Statistics of half a batch are not those of the whole.
        student.get_layer("norm").trainable = False
        keras.utils.set_random_seed(0)
        distiller = Distiller(teacher, student, parse_terms(specs))
        distiller.compile(optimizer(), **options)
    # Seven images in batches of four: the last batch is shared as two and one.
    data = tf.data.Dataset.from_tensor_slices((images, masks, np.linspace(0.5, 2, 7))).batch(4)
    history = distiller.fit(data, epochs=2, verbose=0).history
    return {
        "logs": history,
        "evaluation": distiller.evaluate(data, verbose=0, return_dict=True),
        "weights": [weight.tolist() for weight in student.get_weights()],
        "step": int(distiller._step.numpy()),
    }


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
print(json.dumps({name: [run(None, *case), run(strategy, *case)] for name, case in CASES.items()}))
