"""Intervals, claims and blocks, against plain loops and published figures."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from tfsegkd.recipe.statistics import holm, over_blocks, p_value


def test_p_is_that_of_a_paired_test():
    one, other = [51.0, 54.0, 55.0, 53.5], [50.0, 52.0, 54.5, 53.0]
    differences = [a - b for a, b in zip(one, other, strict=True)]
    assert p_value(differences) == pytest.approx(stats.ttest_rel(one, other).pvalue)
    assert np.isnan(p_value([1.0]))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        # Holm's procedure by hand: the smallest times all, the next times one less, never falling.
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.001, 0.001, 0.2], [0.003, 0.003, 0.2]),
        ([], []),
    ],
)
def test_several_claims(given, wanted):
    assert holm(given) == pytest.approx(wanted)


def counts(labels, predictions, classes):
    kinds = (labels, predictions, labels[labels == predictions])
    return [np.bincount(kind, minlength=classes).tolist() for kind in kinds]


def random_rows(shift, blocks=8, pixels=400, classes=3, seeds=(0, 1)):
    """Two rows on the same blocks; the first is wrong less often."""
    random = np.random.default_rng(3)
    labels = [random.integers(0, classes, pixels) for _ in range(blocks)]
    rows, raw = [], []
    for wrong in (0.3, 0.3 + shift):
        predicted = {
            seed: [np.where(random.random(pixels) < wrong, (one + 1) % classes, one) for one in labels]
            for seed in seeds
        }
        raw.append(predicted)
        rows.append(
            {
                seed: [counts(one, guess, classes) for one, guess in zip(labels, of, strict=True)]
                for seed, of in predicted.items()
            }
        )
    return labels, raw, rows


def test_blocks_are_drawn_whole_and_scored_by_scikit_learn():
    labels, raw, (one, other) = random_rows(0.1)
    # The percentile bootstrap, step by step.
    random, found = np.random.default_rng(11), []
    for _ in range(600):
        drawn = random.integers(0, len(labels), len(labels))
        truth = np.concatenate([labels[block] for block in drawn])
        scores = [
            np.mean(
                [
                    100
                    * jaccard_score(truth, np.concatenate([of[block] for block in drawn]), average="macro")
                    for of in predicted.values()
                ]
            )
            for predicted in raw
        ]
        found.append(scores[0] - scores[1])
    low, high = over_blocks(one, other)
    assert (low, high) == pytest.approx(np.percentile(found, [2.5, 97.5]), abs=0.35)
    assert 0 < low < high


def test_a_row_does_not_differ_from_itself():
    _, _, (one, _) = random_rows(0.0)
    assert over_blocks(one, one) == (0.0, 0.0)


def test_other_frames_are_refused():
    _, _, (one, other) = random_rows(0.1)
    other[1][0][0][0] += 1
    with pytest.raises(ValueError, match="same blocks"):
        over_blocks(one, other)
