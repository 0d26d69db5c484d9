"""U-Net."""

from model_battery import check_parts, classifier, conv, parameters, trainable

from tfsegkd import models


def test_published_architecture():
    """Fig. 1 of the paper, line by line; 31.03 M without BatchNorm."""
    widths = [64, 128, 256, 512, 1024]
    parts = []
    for stage, (before, after) in enumerate(zip([3, *widths], widths, strict=False)):
        parts += [conv(2**stage, 3, before, after), conv(2**stage, 3, after, after)]
    for stage in (3, 2, 1, 0):
        shallow, deep = widths[stage : stage + 2]
        parts += [classifier(2 ** (stage + 1), deep, shallow, kernel=2)]  # learned upsampling has a bias, too
        parts += [conv(2**stage, 3, 2 * shallow, shallow), conv(2**stage, 3, shallow, shallow)]
    parts += [classifier(1, 64, 21)]
    check_parts(models.build("unet", 21, (32, 48, 3)), parts)
    norms = sum(part.others for part in parts if part.others % 64 == 0 and part.kernel % 9 == 0)
    assert round((parameters(parts) - norms) / 1e6, 2) == 31.03


def test_half_the_width_is_the_network_of_buda_et_al():
    """7,763,041 parameters with one output; each further one has 32 weights and a bias."""
    model = models.build("unet(width=32)", 3, (16, 16, 3))
    assert trainable(model) - 2 * (32 + 1) == 7_763_041
