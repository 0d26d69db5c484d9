"""Errors of the library name arguments; a command shows its flags in their place."""

import pytest

from tfsegkd.commands.flag_names import in_flags

TRAIN = {"data_dir", "distill", "trust_model", "train_split", "val_split", "quantize", "batch_size"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Correct `data_dir`.", "Correct --data_dir."),
        ("`data_dir='a b'` is no directory.", "--data_dir='a b' is no directory."),
        ("Set `terms=loss@a:b`.", "Set --distill=loss@a:b."),
        ("Load it with `trust_model=True`.", "Load it with --trust_model."),
        ("Leave it out: `trust_model=False`.", "Leave it out: --notrust_model."),
        ("Choose another `split`.", "Choose another --train_split or --val_split."),
        ("Or use `Quantize`.", "Or use --quantize=qat."),
        ("batch_size must be a number.", "--batch_size must be a number."),
        # What no flag sets stays as it is.
        ("Expected `npm pack a@1` or `alpha=0.5`.", "Expected `npm pack a@1` or `alpha=0.5`."),
        ("The batch_size must be even.", "The batch_size must be even."),
    ],
)
def test_flags_stand_for_arguments(said, shown):
    assert in_flags(said, TRAIN) == shown


def test_a_command_shows_its_own_flag():
    assert in_flags("Choose another `split`.", {"split"}) == "Choose another --split."
    assert in_flags("Choose another `split`.", set()) == "Choose another `split`."
