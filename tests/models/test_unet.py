"""U-Net."""

from model_battery import check_model, trainable

from tfsegkd import models


def test_it_does_what_every_network_does(tmp_path):
    check_model("unet(width=4)", tmp_path)


def test_the_unet_has_the_papers_parameters():
    num_classes, expected, norms = 21, 0, 0
    widths = [64, 128, 256, 512, 1024]
    for before, after in zip([3, *widths], widths, strict=False):
        expected += 9 * before * after + 9 * after * after
        norms += 2 * after
    for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True):
        expected += 4 * deep * shallow + shallow  # learned upsampling, with bias
        expected += 9 * 2 * shallow * shallow + 9 * shallow * shallow
        norms += 2 * shallow
    expected += 64 * num_classes + num_classes
    model = models.build("unet", num_classes, (32, 32, 3))
    assert trainable(model) == expected + 2 * norms
    assert abs(expected - 31.03e6) < 0.01e6
    assert model.count_params() == expected + 4 * norms + 6  # BatchNorm's statistics, the normalisation
