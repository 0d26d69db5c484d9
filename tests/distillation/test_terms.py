"""Terms, and how they are read from flags."""

import pytest

from tfsegkd import losses
from tfsegkd._keras import keras
from tfsegkd.distillation import Term, parse_terms


def test_a_term_takes_a_loss_or_its_spec():
    loss = losses.PixelwiseLoss(temperature=3)
    assert Term(loss).loss is loss
    term = Term("pixelwise(temperature=3)", weight=0.5, at=("aspp", "context"))
    assert term.loss.temperature == 3 and term.weight == 0.5 and term.layers == ("aspp", "context")
    assert Term(loss).layers == ("logits", "logits")


def test_specs_become_terms():
    logits, features = parse_terms(["pixelwise(temperature=4)*0.5", "pairwise@aspp:context"])
    assert (logits.name, logits.weight, logits.at) == ("pixelwise", 0.5, None)
    assert logits.loss.temperature == 4
    assert (features.name, features.weight, features.at) == ("pairwise_context", 1.0, ("aspp", "context"))
    assert isinstance(features.loss, losses.PairwiseLoss)
    assert parse_terms([]) == []


def test_the_preset_stands_for_its_terms():
    extended = parse_terms(["preset", "pixelwise"])
    assert [(term.loss.name, term.at, term.weight) for term in extended] == [
        ("channel_wise", None, 0.6),
        ("hint", ("stride16", "stride16"), 2.0),
        ("hint", ("stride8", "stride8"), 2.0),
        ("pixelwise", None, 1.0),
    ]
    with pytest.raises(ValueError, match=r"names \['hint_stride8'\]"):
        parse_terms(["preset", "hint@stride8"])


def test_one_loss_at_several_layers():
    terms = parse_terms(["hint@stride8:stride8", "hint@stride16:stride16*2", "hint"])
    assert [term.name for term in terms] == ["hint_stride8", "hint_stride16", "hint"]
    assert len({term.loss.name for term in terms}) == 1 and len({id(term.loss) for term in terms}) == 3


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["pixelwise", "pixelwise(temperature=4)"], r"names \['pixelwise'\]"),
        (["hint@a:stage", "pixelwise", "hint@b:stage*2"], r"names \['hint_stage'\]"),
        (["pixelwize"], "Did you mean 'pixelwise'"),
        (["pixelwise(4)"], "need a name"),
        (["pixelwise(temperature=4"], "Cannot read"),
        (["pixelwise(heat=4)"], "temperature"),
        (["pixelwise*much"], "not a number"),
        (["pixelwise*-1"], "not negative. Received: -1"),
        (["hint@a:b:c"], "teacher_layer:student_layer"),
        (["hint@a:b*2*warm_upp(steps=3)"], "Did you mean 'warm_up'"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said(specs, words):
    with pytest.raises(ValueError, match=words):
        parse_terms(specs)


def test_a_weight_of_nothing_is_allowed_but_not_below():
    assert Term("pixelwise", weight=0).weight == 0
    for weight in (-0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight"):
            Term("pixelwise", weight=weight)


def test_an_adapter_is_a_word_a_layer_or_nothing():
    layer = keras.layers.Conv2D(4, 1)
    assert Term("hint").adapter == "auto"
    assert Term("hint", adapter=layer).adapter is layer
    assert Term("hint", adapter=None).adapter is None
    for adapter in ("conv", 4, lambda feature: feature):
        with pytest.raises(TypeError, match="adapter of 'hint' must be 'auto', None or a tf_keras layer"):
            Term("hint", adapter=adapter)
