"""What --dry_run says of a study."""

import json

import pytest

from tfsegkd.recipe.study import Method, Study
from tfsegkd.recipe.study_runs import estimate

METHODS = (Method("alone", (), ("student",)), Method("better", ("--distill=hint",), ("student",)))


@pytest.fixture
def study(tmp_path):
    return Study(("python", "train.py", "--epochs=3"), METHODS, (0, 1, 2), tmp_path / "study")


def note(study, method, seed, **report):
    directory = study.directory / method / f"seed_{seed}"
    directory.mkdir(parents=True)
    (directory / "log.txt").write_text("training")
    if report:
        (directory / "study.json").write_text(json.dumps({"stages": [], **report}))


def test_a_study_that_has_not_begun(study):
    text = estimate(study, jobs=2)
    assert text.startswith("6 runs, 2 methods × 3 seeds, 2 at once.")
    assert "alone   0 done, 0 started, 3 to do" in text and "--distill=hint" in text
    assert "about 0 minutes left, without alone, better" in text
    assert text.endswith("python train.py --epochs=3 --dry_run")
    assert not study.directory.exists()


def test_runs_that_are_done_tell_how_long_the_others_take(study):
    note(study, "alone", 0, minutes=4.0)
    note(study, "alone", 1, minutes=8.0)
    note(study, "alone", 2)
    note(study, "better", 0, minutes=10.0)
    text = estimate(study, jobs=2)
    assert "alone   2 done, 1 started, 0 to do, 6.0 minutes each" in text
    assert "better  1 done, 0 started, 2 to do, 10.0 minutes each" in text
    # One of six minutes and two of ten, two at a time.
    assert text.endswith("about 13 minutes left")


def test_runs_with_other_flags_are_refused(study):
    note(study, "alone", 0, minutes=4.0, asked=["--epochs=4"])
    with pytest.raises(ValueError, match="made with other flags: --epochs=4 before"):
        estimate(study, jobs=1)
