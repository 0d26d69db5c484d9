"""What papers and torchvision say of the parameters and MACs of networks that we have."""

from dataclasses import dataclass

from tfsegkd import models
from tfsegkd.graph import cost


@dataclass(frozen=True)
class Published:
    """One published count, and the conditions it holds for.

    Args:
        network: Our spec of that network.
        num_classes, size: Of the network that was counted; size is (height, width).
        parameters: As published, with as many digits.
        gmacs: Billions of MACs as published, or None.
        source: Where.
        auxiliary: Channels that torchvision's auxiliary head reads at stride 8; its count includes that head.
        remark: What else differs.
    """

    network: str
    num_classes: int
    size: tuple[int, int]
    parameters: str
    gmacs: float | None
    source: str
    auxiliary: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Counted:
    """Our network under the conditions of a published count."""

    parameters: int
    gmacs: float


_TORCHVISION = {"num_classes": 21, "size": (520, 520), "source": "torchvision"}
_PADDED = "ours pads to 528×528"
PUBLISHED = (
    Published(
        "unet",
        2,
        (512, 512),
        parameters="31.03 M",
        gmacs=None,
        source="arXiv 1505.04597",
        remark="BatchNorm for biases",
    ),
    Published("segnet", 19, (512, 1024), parameters="29.45 M", gmacs=325.5, source="arXiv 1511.00561"),
    Published(
        "erfnet", 19, (512, 1024), parameters="2,064,191", gmacs=26.60, source="doi 10.1109/TITS.2017.2750080"
    ),
    Published(
        "enet",
        12,
        (360, 640),
        parameters="0.37 M",
        gmacs=3.83 / 2,
        source="arXiv 1606.02147",
        remark="3.83 GFLOPs, of which two make a MAC; PReLU and activations counted there",
    ),
    Published(
        "fast_scnn",
        19,
        (1024, 2048),
        parameters="1.11 M",
        gmacs=None,
        source="arXiv 1902.04502",
        remark="without BatchNorm",
    ),
    Published(
        "bisenet_v2",
        19,
        (512, 1024),
        parameters="–",
        gmacs=21.15,
        source="arXiv 2004.02147",
        remark="its table 1, line by line, gives our count",
    ),
    Published("deeplab_v3", parameters="42,004,074", gmacs=178.722, auxiliary=1024, **_TORCHVISION),
    Published(
        "deeplab_v3(backbone=resnet101)",
        parameters="60,996,202",
        gmacs=258.743,
        auxiliary=1024,
        **_TORCHVISION,
    ),
    Published(
        "deeplab_v3(backbone=mobilenet_v3_large, output_stride=16)",
        parameters="11,029,328",
        gmacs=10.452,
        auxiliary=40,
        remark=_PADDED,
        **_TORCHVISION,
    ),
    Published("fcn", parameters="35,322,218", gmacs=152.717, auxiliary=1024, **_TORCHVISION),
    Published("lraspp", parameters="3,221,538", gmacs=2.086, remark=_PADDED, **_TORCHVISION),
    Published(
        "pspnet",
        19,
        (512, 1024),
        parameters="51.45 M",
        gmacs=None,
        source="arXiv 1903.04197",
        remark="there with an auxiliary head of 4.73 M and a stem of 0.12 M more",
    ),
)


def published(network: str) -> Published | None:
    """What is published of the network with this spec."""
    return next((one for one in PUBLISHED if one.network == network), None)


def count(one: Published) -> Counted:
    """Counts our network as the published one was counted, an auxiliary head included."""
    model = models.build(one.network, one.num_classes, (*one.size, 3))
    parameters, macs = trained(model), cost(model).macs
    if one.auxiliary:
        inner = one.auxiliary // 4
        kernels = 9 * one.auxiliary * inner + inner * one.num_classes
        parameters += kernels + 2 * inner + one.num_classes
        macs += kernels * (one.size[0] // 8) * (one.size[1] // 8)
    return Counted(parameters, macs / 1e9)


def trained(model) -> int:
    """The parameters that training moves, which is what papers count."""
    return sum(weight.shape.num_elements() for weight in model.trainable_weights)
