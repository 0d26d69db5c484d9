"""FCN, against the counts of torchvision."""

from model_battery import check_model, trainable

from tfsegkd import models


def test_it_does_what_every_network_does(tmp_path):
    check_model("fcn(backbone=resnet50, width_multiplier=0.125)", tmp_path)


def test_published_parameters():
    """`num_params` in the documentation of torchvision's fcn_resnet50 weights, with its auxiliary head."""
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    assert trainable(models.build("fcn", 21, (64, 64, 3))) + auxiliary == 35_322_218
