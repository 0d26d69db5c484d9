"""Quantization-aware training: a float network that computes as its int8 file will."""

from collections.abc import Iterable

from tfsegkd._keras import keras
from tfsegkd.graph import Graph, check_functional, check_images, in_float32, rebuild
from tfsegkd.quantization.calibration import measure
from tfsegkd.quantization.configs import QuantizedLayer, SharedRange
from tfsegkd.quantization.decomposition import decompose
from tfsegkd.quantization.folding import fold
from tfsegkd.quantization.scheme import Precision, with_fake_quantization


def quantize(
    model: keras.Model,
    weight_bits: int = 8,
    activation_bits: int = 8,
    quantizer: str = "minmax",
    calibration: Iterable | None = None,
) -> keras.Model:
    """Makes a network whose weights and activations are rounded, ready to be fine-tuned.

    The new network has the weights of `model`, which stays as it is. Layer 'x' becomes 'quant_x'; a layer
    that int8 has no operation for becomes several, of which the last bears its name. The pixels' range is
    0…255 for good. It can be saved as `.h5` or `.keras`.

    Args:
        model: A float network on raw pixels 0…255: functional, of a fixed size, each layer with weights
            called once. One that was trained in mixed precision is read as float32.
        weight_bits: 8, or 4 for a smaller file that is not faster: kernels of 4 bits run outside the
            delegate. The first and the last kernel and those of transposed convolutions keep 8. 2 is for
            study: the file holds such kernels in 8 bits, and `weight_size` says what they would take.
        activation_bits: 8, or 4 for study: TFLite has no activations of 4 bits, so it cannot be exported.
        quantizer: A spec of `QUANTIZERS`. 'minmax' reads ranges from the values; 'lsq' learns them;
            'uniform(bucket_size=256)' scales kernels bucket by bucket, and 'points(bucket_size=256)' learns
            the levels of a kernel while its weights stay: the file holds both in 8 bits, too.
        calibration: Batches of images (N, H, W, 3) in 0…255 to measure the activations' ranges on. A few
            dozen images of the training set make the network accurate before any fine-tuning. Without them
            every range is a guess until a training step has been made.

    Returns:
        A quantization-aware network with the weights of `model`, which stays as it is.

    Raises:
        TypeError: if `model` is not a functional Keras model, or a calibration batch not an array.
        ValueError: for a layer that would stay in float, with its name and a fix; for an unknown
            precision; for calibration images of another shape or range.

    Example:
        quantized = quantization.quantize(student, calibration=images)
        distiller = tfsegkd.Distiller(teacher, quantized)  # which fine-tunes it

    Reference:
        Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877.
        Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, for 'lsq'.
        Polino et al., ICLR 2018, https://arxiv.org/abs/1802.05668, for 'uniform' and 'points'.
        Differs: a range starts as the mean of the first batches instead of a moving average from −6…6.
    """
    precision = Precision(weight_bits, activation_bits, quantizer)
    check_functional(model, "quantize")
    check_images(model, "quantize")
    if any(isinstance(layer, QuantizedLayer) for layer in model.layers):
        raise ValueError(f"Model {model.name!r} is quantized already. Pass the float network.")
    graph = fold(decompose(in_float32(model)))
    quantized = rebuild(with_fake_quantization(graph, precision))
    if calibration is not None:
        calibrate(quantized, graph, calibration)
    return quantized


def calibrate(quantized: keras.Model, graph: Graph, batches: Iterable) -> None:
    """Sets the ranges of `quantized` from the activations of the float network it was made of.

    Args:
        graph: Of the layers that `quantized` wraps.
    """
    observers = [
        layer
        for layer in quantized.layers
        if isinstance(layer, QuantizedLayer | SharedRange) and layer.members
    ]
    names = [name for layer in observers for name in layer.members]
    if not names:
        return
    measured = dict(zip(names, measure(graph, names, batches), strict=True))
    for layer in observers:
        layer.set_observed([measured[name] for name in layer.members])


def check_observed(model: keras.Model) -> None:
    """Refuses a quantized network whose activations nobody has looked at: its ranges are guesses.

    Networks that `quantize` has not made pass.

    Raises:
        ValueError: with how many ranges were never measured, the name of the first, and a fix.
    """
    quantizing = [one for one in model.submodules if isinstance(one, QuantizedLayer | SharedRange)]
    unmeasured = [one.name for one in quantizing if not one.is_observed]
    if unmeasured:
        raise ValueError(
            f"{model.name!r} cannot become int8: nothing was ever measured of {len(unmeasured)} ranges of "
            f"its activations, the first that of {unmeasured[0]!r}. Expected a network that has seen "
            f"images. Pass calibration=batches of a few dozen training images to quantize, or train it for "
            f"an epoch."
        )
