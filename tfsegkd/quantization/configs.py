"""The layers that fake quantization wraps around others, and what of a layer they quantize."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfsegkd._keras import keras, tfmot
from tfsegkd.graph.layer_spec import kernel_of, spec_of
from tfsegkd.quantization.quantizers import LEARNED, FixedQuantizer, Observed

Quantizer = tfmot.quantization.keras.quantizers.Quantizer


@keras.utils.register_keras_serializable("tfsegkd")
class LayerConfig(tfmot.quantization.keras.QuantizeConfig):
    """Says what of a layer is rounded: its kernel, its output, both or nothing.

    Args:
        kernel: The quantizer of its kernel, where it has one.
        output: The quantizer of its output. None within a chain that becomes one int8 operation
            (convolution, BatchNorm, ReLU) and where another layer rounds for it.
    """

    def __init__(self, kernel: Quantizer | None = None, output: Quantizer | None = None):
        self.kernel, self.output = _revived(kernel), _revived(output)

    def get_weights_and_quantizers(self, layer):
        return [(kernel_of(layer), self.kernel)] if self.kernel else []

    def set_quantize_weights(self, layer, quantize_weights):
        for weight in quantize_weights:
            setattr(layer, spec_of(layer).kernel.name, weight)

    # A layer's own activation is part of its output, so it is left as it is.
    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return [self.output] if self.output else []

    def get_config(self):
        return {"kernel": _written(self.kernel), "output": _written(self.output)}


def _is_learned(weight):
    return weight.name.split(":")[0].endswith(LEARNED)


class _HasRanges:
    """What the two kinds of layers that round have in common."""

    _frozen = False

    @property
    def is_observed(self) -> bool:
        """Whether its range has been measured, where it depends on images."""
        return not self.members or bool(tf.reduce_all(self._range_variables()["batches"] > 0))

    def freeze_ranges(self, frozen: bool) -> None:
        """Keeps ranges, learned steps and levels as they are while all else trains, or lets them go again."""
        self._frozen = frozen
        for quantizer in self._quantizers():
            quantizer.is_frozen = frozen

    def build_from_config(self, config):
        # Keras builds a wrapper that it reads outside of its scope, where all kernels have one name.
        with tf.name_scope(self.name):
            super().build_from_config(config)

    @property
    def trainable_weights(self):
        return [weight for weight in self._in_order() if self._trains(weight)]

    @property
    def non_trainable_weights(self):
        kept = [weight for weight in self._in_order() if not self._trains(weight)]
        return self._dedup_weights(kept + super().non_trainable_weights)

    def _in_order(self):
        # Files store weights by position, which must depend neither on what is frozen nor on what was built
        # first: what quantizers learn comes after what the layer does, and what nothing trains comes last.
        return sorted(super().trainable_weights, key=lambda one: (self._is_fixed(one), _is_learned(one)))

    def _trains(self, weight):
        frozen = self._is_fixed(weight) or (self._frozen and _is_learned(weight))
        return self.trainable and not frozen

    def _is_fixed(self, weight):
        """Whether a quantizer keeps the weight as it was and learns levels in its stead."""
        return False


@keras.utils.register_keras_serializable("tfsegkd")
class QuantizedLayer(_HasRanges, tfmot.quantization.keras.QuantizeWrapperV2):
    """A layer whose kernel and output are rounded.

    Differs: TF-MOT's wrapper goes on training the kernel of a frozen layer.
    """

    @property
    def members(self) -> tuple[str, ...]:
        """The float layer whose output is measured here; none if its range is known or not its own."""
        output = self.quantize_config.output
        return () if output is None or isinstance(output, FixedQuantizer) else (self.layer.name,)

    # AutoGraph would convert the wrapper, which holds no control flow on tensors again for every layer.
    @tf.autograph.experimental.do_not_convert
    def call(self, inputs, training=None, **kwargs):
        return super().call(inputs, training=training, **kwargs)

    def _range_variables(self):
        return self._output_quantizer_vars

    def _quantizers(self):
        config = self.quantize_config
        return [one for one in (config.kernel, config.output) if one is not None]

    def _is_fixed(self, weight):
        quantizer = self.quantize_config.kernel
        fixes = getattr(quantizer, "fixes_kernel", False)
        return fixes and any(weight is kernel for kernel, _, _ in self._weight_vars)

    @property
    def kernel(self) -> tf.Variable | None:
        """The kernel that is quantized, which the wrapper has taken from the layer; None if there is none."""
        return self._weight_vars[0][0] if self._weight_vars else None

    def quantized_kernel(self) -> np.ndarray | None:
        """The kernel as the int8 network has it."""
        for kernel, quantizer, variables in self._weight_vars:
            return quantizer(kernel, False, variables).numpy()
        return None

    def float_weights(self) -> list[np.ndarray]:
        """The weights of the layer inside, in the order in which it has them by itself."""
        kernel = [] if self.kernel is None else [self.kernel.numpy()]
        return [*kernel, *self.layer.get_weights()]

    def set_float_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets the weights of the layer inside, as `float_weights` returns them."""
        weights = list(weights)
        if self.kernel is not None:
            self.kernel.assign(weights.pop(0))
        self.layer.set_weights(weights)

    def start(self) -> None:
        """Chooses first steps or levels for the kernel, if they are learned."""
        for kernel, quantizer, variables in self._weight_vars:
            if hasattr(quantizer, "start"):
                quantizer.start(variables, kernel)

    def set_observed(self, measured: list[Observed]) -> None:
        """Sets the range of the output from what was observed of it."""
        self.quantize_config.output.set_observed(self._output_quantizer_vars, measured)

    def get_config(self):
        # The legacy form names the package of a layer of ours even in an .h5 file.
        inner = keras.layers.serialize(self.layer, use_legacy_format=True)
        return {**super().get_config(), "layer": inner}


# Saved networks know it by its first name.
@keras.utils.register_keras_serializable("tfsegkd", name="JointRounding")
class SharedRange(_HasRanges, keras.layers.Layer):
    """Rounds several tensors of a network with one range, so that int8 joins them as they are.

    It is called on each of them, with the tensor's place among `members`.

    Args:
        quantizer: Of activations, for as many members.
        members: The names of the float layers that give the tensors.

    Shapes:
        inputs, returns: any, equal.
    """

    def __init__(self, quantizer: Quantizer, members: list[str], **kwargs):
        super().__init__(**kwargs)
        self.quantizer, self.members = _revived(quantizer), tuple(members)

    def build(self, input_shape):
        self._range = self.quantizer.build(None, "output", self)
        super().build(input_shape)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs, member: int, training=None):
        return self.quantizer(inputs, bool(training), self._range, member=member)

    def set_observed(self, measured: list[Observed]) -> None:
        """Sets the range from what was observed of each member."""
        self.quantizer.set_observed(self._range, measured)

    def _range_variables(self):
        return self._range

    def _quantizers(self):
        return [self.quantizer]

    def get_config(self):
        return {
            **super().get_config(),
            "quantizer": _written(self.quantizer),
            "members": list(self.members),
        }


def _written(quantizer: Quantizer | None) -> dict[str, Any] | None:
    return quantizer and keras.utils.legacy.serialize_keras_object(quantizer)


def _revived(quantizer: Quantizer | dict[str, Any] | None) -> Quantizer | None:
    if not isinstance(quantizer, dict):
        return quantizer
    return keras.utils.legacy.deserialize_keras_object(quantizer)
