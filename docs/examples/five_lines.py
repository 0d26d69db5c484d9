"""An existing Keras script gains distillation in five lines, those that end in `# new`.

    python docs/examples/five_lines.py

The script is written for Keras 3, as most are today; `Distiller` takes its networks as they are and gives the
student its weights back.
"""

import keras
import numpy as np

import tfsegkd  # new
from tfsegkd.data.road_scenes import RoadScenes

SIZE, CLASSES, VOID = (48, 64), 11, 255


def frames(split, count):
    """Images in 0…255 and masks, as arrays."""
    scenes = RoadScenes(split, height=SIZE[0], width=SIZE[1], num_images=count)
    images, masks = zip(*scenes, strict=True)
    return np.stack(images).astype("float32"), np.stack(masks).astype("int32")


def network(width, name):
    """A small encoder and decoder with one skip."""
    layers = keras.layers
    image = keras.Input((*SIZE, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    skip = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name="stride2")(x)
    x = layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu", name="stride4")(skip)
    x = layers.Conv2D(2 * width, 3, padding="same", activation="relu", name="context")(x)
    x = layers.Concatenate(name="join")([layers.UpSampling2D(2, name="enlarge")(x), skip])
    x = layers.Conv2D(CLASSES, 1, name="scores")(x)
    return keras.Model(image, layers.UpSampling2D(2, name="logits")(x), name=name)


def right(model, images, masks):
    """The share of labelled pixels that a network gets right."""
    labelled = masks != VOID
    return (model.predict(images, verbose=0).argmax(-1) == masks)[labelled].mean()


train, val = frames("train", 32), frames("val", 8)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID)

teacher = network(24, "teacher")
teacher.compile(keras.optimizers.Adam(3e-3), loss)
teacher.fit(*train, batch_size=8, epochs=8, verbose=0)

student = network(8, "student")
# Before: student.compile(keras.optimizers.Adam(3e-3), loss); student.fit(*train, batch_size=8, epochs=8)
terms = [tfsegkd.Term("pixelwise"), tfsegkd.Term("hint", at=("context", "context"), weight=0.5)]  # new
distiller = tfsegkd.Distiller(teacher, student, terms, ignore_label=VOID)  # new
distiller.compile("adam")  # new
distiller.fit(*train, batch_size=8, epochs=8, verbose=0)  # new

for model in (teacher, student):
    print(f"{model.name}: {100 * right(model, *val):.1f} % of the pixels right")
student.save("student.keras")
