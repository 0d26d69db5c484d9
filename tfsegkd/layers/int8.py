"""Layers that only quantized networks have, in place of such as TFLite's int8 does not run."""

import numpy as np

from tfsegkd import checks
from tfsegkd._keras import keras
from tfsegkd.layers.pooling import strip_means


@keras.utils.register_keras_serializable("tfsegkd")
class StripMean(keras.layers.Layer):
    """The means of `bins` strips along one axis: half of an `AdaptiveMean`, which int8 rounds in between.

    Args:
        bins: How many strips; they overlap by a pixel where it does not divide the side.
        axis: 1 for strips of rows, 2 for strips of columns.

    Shapes:
        inputs: (N, H, W, C), H and W static. returns: (N, bins, W, C) or (N, H, bins, C).

    Example:
        layers.StripMean(bins=2, axis=1)(tf.ones((1, 6, 4, 3))).shape  # (1, 2, 4, 3)
    """

    def __init__(self, bins: int, axis: int, **kwargs):
        super().__init__(**kwargs)
        self.bins = int(checks.positive(bins, "bins"))
        self.axis = checks.one_of(axis, (1, 2), "axis")

    def call(self, inputs):
        return strip_means(inputs, self.bins, self.axis)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "axis": self.axis}


@keras.utils.register_keras_serializable("tfsegkd")
class GridGain(keras.layers.Layer):
    """Multiplies each position by the factor of its row and the factor of its column.

    Args:
        rows, columns: The factors, as many as the image has of each.

    Shapes:
        inputs, returns: (N, H, W, C), equal.

    Example:
        gain = layers.GridGain([1.0, 2.0], [1.0, 3.0])
        gain(tf.ones((1, 2, 2, 1))).numpy().ravel().tolist()  # [1.0, 3.0, 2.0, 6.0]
    """

    def __init__(self, rows: list[float], columns: list[float], **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = list(map(float, rows)), list(map(float, columns))

    def call(self, inputs):
        return inputs * np.outer(self.rows, self.columns).astype(np.float32)[None, :, :, None]

    def get_config(self):
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}
