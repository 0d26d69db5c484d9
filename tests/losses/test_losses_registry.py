import numpy as np
import pytest

from tfsegkd import losses

ALL = [
    "ace",
    "attention",
    "channel_wise",
    "cirkd",
    "csc",
    "dist",
    "dkd",
    "hint",
    "holistic",
    "ifvd",
    "mgd",
    "pairwise",
    "pixelwise",
]


def test_every_loss_of_the_field_is_registered_under_its_file_name():
    assert losses.names() == ALL
    for name in ALL:
        assert type(losses.get(name)).__module__ == f"tfsegkd.losses.{name}"


def test_arguments_of_the_flag_language_arrive():
    assert losses.get("pixelwise(temperature=4)").temperature == 4
    assert losses.get("hint(normalize=both)").normalize == "both"
    assert losses.get("cirkd(num_classes=11, max_anchors=64)").max_anchors == 64


@pytest.mark.parametrize(
    "spec, words",
    [
        ("pairwize", "pairwise"),
        ("pairwise(pool=0)", "pool"),
        ("pairwise(pool=1.5)", "pool"),
        ("pixelwise(temperature=0)", "temperature"),
        ("hint(normalize=student)", "both"),
        ("mgd(mask_ratio=2)", "mask_ratio"),
        ("ace(hard=1)", "soft"),
        ("cirkd(num_classes=0)", "num_classes"),
        ("cirkd(max_anchors=2.5)", "max_anchors"),
        ("holistic(width=-1)", "width"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec, words):
    with pytest.raises(ValueError, match=words):
        losses.get(spec)


FEATURES = np.zeros((2, 4, 4, 3), "float32")


@pytest.mark.parametrize("name", ["ace", "dkd", "ifvd", "cirkd(num_classes=3)"])
def test_losses_that_need_labels_say_so(name):
    with pytest.raises(ValueError, match="needs `labels`"):
        losses.get(name)(FEATURES, FEATURES)


def test_holistic_asks_for_the_images():
    with pytest.raises(ValueError, match="needs `images`"):
        losses.get("holistic(width=2)")(FEATURES, FEATURES)


@pytest.mark.parametrize("name", ALL)
def test_sizes_that_differ_are_refused(name):
    loss = losses.get(name)
    inputs = {"labels": np.zeros((2, 8, 8), int), "images": np.zeros((2, 8, 8, 3))}
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 3\).*\(2, 2, 2, 3\)"):
        loss(FEATURES, FEATURES[:, :2, :2], **inputs)
    if loss.same_channels:
        with pytest.raises(ValueError, match="number of channels"):
            loss(FEATURES, FEATURES[..., :2], **inputs)
    else:
        assert loss(FEATURES, FEATURES[..., :2], **inputs).shape == (2,)


def test_wrong_ranks_are_refused():
    loss = losses.get("ifvd")
    with pytest.raises(ValueError, match=r"\(N, H, W, C\) from the student"):
        loss(FEATURES, FEATURES[0])
    with pytest.raises(ValueError, match="expects `labels`"):
        loss(FEATURES, FEATURES, labels=np.zeros((2, 4, 4, 1), int))
    with pytest.raises(ValueError, match="expects `valid`"):
        loss(FEATURES, FEATURES, labels=np.zeros((2, 4, 4), int), valid=np.ones((4, 4)))
