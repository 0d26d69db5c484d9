"""One of the workers of a training; run by test_strategy.py, prints the logs of every epoch as JSON.

python worker.py STRATEGY DIRECTORY EPOCHS
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

strategy, directory, epochs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if strategy == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tfsegkd.recipe.strategy import open_workers  # noqa: E402

workers = open_workers(strategy)

from tfsegkd._keras import keras  # noqa: E402
from tfsegkd.data.road_scenes import RoadScenes  # noqa: E402
from tfsegkd.distillation import Distiller, parse_terms  # noqa: E402
from tfsegkd.recipe import Schedule, TrainingData  # noqa: E402
from tfsegkd.recipe.training import train  # noqa: E402

layers = keras.layers
SIZE = (32, 48)


def network(filters, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, -1, name="scale")(image)
    x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name="conv")(x)
    # Statistics of half a batch are not those of the whole.
    x = layers.BatchNormalization(name="norm", trainable=False)(x)
    x = layers.ReLU(name="stage")(x)
    x = layers.Conv2D(11, 1, name="head")(x)
    return keras.Model(image, layers.UpSampling2D(2, name="enlarge")(x))


class Print(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("LOGS " + json.dumps({"epoch": epoch, **logs}), flush=True)


frames = TrainingData(
    *(RoadScenes(split, height=SIZE[0], width=SIZE[1], num_images=8) for split in ("train", "val")),
    size=SIZE,
    seed=3,
)
with workers.in_scope():
    distiller = Distiller(network(7, 0), network(5, 1), parse_terms(["pixelwise", "hint@stage:stage"]))
    schedule = Schedule(epochs=epochs, learning_rate=0.01, batch_size=4)
    train(distiller, frames, schedule, directory, [Print()])
    weights = [weight.tolist() for weight in distiller.student.get_weights()]
workers.barrier()
print("WEIGHTS " + json.dumps(weights), flush=True)
