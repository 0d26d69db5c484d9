"""A data set in memory and a network whose logits can be computed by hand."""

import numpy as np

from tfsegkd._keras import keras
from tfsegkd.data import DatasetInfo, Source

NAMES = ("sky", "road", "tree", "boat", "sign")
PALETTE = ((10, 20, 30), (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 80, 70))
INFO = DatasetInfo("fake", NAMES, PALETTE)
SIZE = (8, 12)


class FakeSource(Source):
    """Random images of the given sizes; masks without class 3 and with a void border."""

    def __init__(self, sizes, info=INFO, seed=0):
        super().__init__(info, [f"example_{number}" for number in range(len(sizes))])
        random = np.random.default_rng(seed)
        self.examples = []
        for size in sizes:
            mask = random.choice([0, 1, 2, 4], size).astype(np.uint8)
            mask[0], mask[:, -1] = info.ignore_label, info.ignore_label
            self.examples.append((random.integers(0, 256, (*size, 3), dtype=np.uint8), mask))

    def read(self, index):
        return self.examples[index]


def network(classes: int = len(NAMES), hidden: tuple[int, ...] = (3,)) -> keras.Model:
    """Mean over 2×2 pixels, then a linear map of the colors; the classes `hidden` are never chosen."""
    image = keras.Input((*SIZE, 3), name="image")
    x = keras.layers.AveragePooling2D(2, name="pool")(image)
    outputs = keras.layers.Conv2D(classes, 1, name="logits")(x)
    model = keras.Model(image, outputs, name="linear")
    kernel = np.random.default_rng(1).normal(size=(3, classes)) / 64
    bias = -128 * kernel.sum(0)
    bias[[number for number in hidden if number < classes]] = -1e3
    model.get_layer("logits").set_weights([kernel[None, None], bias])
    return model
