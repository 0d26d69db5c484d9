"""The small student."""

from model_battery import check_model

from tfsegkd import models


def test_it_does_what_every_network_does(tmp_path):
    check_model("mobile_unet(width_multiplier=0.5)", tmp_path)


def test_the_mobile_student_is_small():
    counts = [
        models.build(f"mobile_unet(width_multiplier={width})", 11, (32, 32, 3)).count_params()
        for width in (0.5, 1.0)
    ]
    assert counts[0] < counts[1]
    assert 0.1e6 < counts[1] < 0.5e6
