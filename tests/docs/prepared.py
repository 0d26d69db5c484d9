"""What the Python blocks of the documents take for granted, at toy size.

`docs/index.md` lists these names for the reader.
"""

from pathlib import Path

import tensorflow as tf

from tfsegkd import data
from tfsegkd._keras import keras

SIZE = (32, 48)
layers = keras.layers


def network(name: str, num_classes: int, seed: int, width: int = 16) -> keras.Model:
    """Down to stride 16 in three layers, and up at once; layers worth distilling bear their usual names."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((*SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    for layer_name, strides in (("stride4", 4), ("stride8", 2), ("stride16", 2)):
        x = layers.Conv2D(
            width, 3, strides=strides, padding="same", use_bias=False, name=f"{layer_name}_conv"
        )(x)
        x = layers.BatchNormalization(name=f"{layer_name}_norm")(x)
        x = layers.ReLU(6.0, name=layer_name)(x)
    x = layers.Conv2D(num_classes, 1, name="scores")(x)
    return keras.Model(pixels, layers.UpSampling2D(16, interpolation="bilinear", name="logits")(x), name=name)


def foreign(num_classes: int) -> keras.Model:
    """A network of another make: pixels from −1 to 1, a model inside, an operation, a softmax at the end."""
    features = keras.Input((*SIZE, 3))
    inner = keras.Model(
        features, layers.Conv2D(8, 3, padding="same", activation="relu")(features), name="inner"
    )
    pixels = keras.Input((*SIZE, 3))
    x = inner(pixels)
    x = x + layers.Conv2D(8, 1)(x)
    return keras.Model(pixels, layers.Softmax()(layers.Conv2D(num_classes, 1)(x)), name="foreign")


def names(directory: Path) -> dict:
    """The names, and the files that pages open in `directory`."""
    source = data.load("road_scenes(height=32, width=48, num_images=8)", "train")
    batches = data.evaluation_batches(source, SIZE, 2)
    count = source.info.num_classes
    teacher, student = network("teacher", count, 1), network("student", count, 2)
    for model in (teacher, student):
        model.save(directory / f"{model.name}.keras")
    # What an export before left there.
    (directory / "student.tflite").write_bytes(bytes(range(256)) * 64)
    return {
        "teacher": teacher,
        "student": student,
        "source": source,
        "info": source.info,
        "size": SIZE,
        "batches": batches,
        "images": batches.map(lambda images, masks: images),
        "your_model": foreign(count),
        "tf": tf,
    }
