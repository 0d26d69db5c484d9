"""A range that is known and stays so."""

import tensorflow as tf

from tfsegkd._keras import keras


@keras.utils.register_keras_serializable("tfsegkd")
class FixedRange(keras.layers.Layer):
    """Rounds a tensor to the 256 levels of a range that training never moves.

    On raw pixels with the range 0…255 it changes nothing, and makes a `.tflite` take uint8 pixels as they are
    (scale 1, zero point 0).

    Args:
        low, high: The range; 0 must lie in it.

    Shapes:
        inputs, returns: any, equal.

    Example:
        float(layers.FixedRange(-1.0, 1.0)(tf.constant(5.0))) < 1.01  # True
    """

    def __init__(self, low: float, high: float, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def call(self, inputs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self):
        return {**super().get_config(), "low": self.low, "high": self.high}
