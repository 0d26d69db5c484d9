"""Statistics of paired measurements: intervals, multiple claims, bootstrap over blocks of frames."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half width of its 95 % interval, by Student's t; NaN below two values.

    Reference:
        Student, Biometrika 1908.
    """
    mean = statistics.fmean(values) if values else float("nan")
    if len(values) < 2:
        return mean, float("nan")
    spread = statistics.stdev(values) / len(values) ** 0.5
    return mean, float(stats.t.ppf(0.975, len(values) - 1)) * spread


def p_value(differences: Sequence[float]) -> float:
    """Returns Student's two-sided p-value that the mean of differences is 0; NaN below two values."""
    if len(differences) < 2:
        return float("nan")
    return float(stats.ttest_1samp(differences, 0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts the p-values of several claims by Holm's method.

    Reference:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's ρ: 1 if two lists of scores rank alike, −1 if they rank in reverse; NaN for fewer than two.

    Reference:
        Spearman, American Journal of Psychology 1904.
    """
    return float(stats.spearmanr(one, other).statistic) if len(one) > 1 else float("nan")


def over_blocks(
    one: Mapping[int, Sequence], other: Mapping[int, Sequence], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Returns the bootstrap 95 % interval of a difference of mean IoU over blocks of neighbouring frames.

    Both rows are measured on the same blocks, drawn with replacement; the difference is the mean over the
    seeds that both have, in percent.

    Args:
        one, other: Of each seed the counts [block][3][class] of `Evaluation.blocks`.
        resamples: The number of bootstrap samples.
        seed: The random seed.

    Raises:
        ValueError: if the rows share no seed, or were not measured on the same blocks.

    Reference:
        Künsch, Annals of Statistics 1989.
    """
    seeds = sorted(set(one) & set(other))
    labels = {str([block[0] for block in row[number]]) for row in (one, other) for number in seeds}
    if len(labels) != 1:
        raise ValueError(
            f"Rows must be measured on the same blocks of frames. Received: {len(labels)} kinds."
        )
    ours, theirs = (np.array([row[number] for number in seeds], np.float64) for row in (one, other))

    def difference(blocks):
        return np.mean(_mean_iou(ours[:, blocks].sum(1)) - _mean_iou(theirs[:, blocks].sum(1)))

    found = stats.bootstrap(
        (np.arange(ours.shape[1]),),
        difference,
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _mean_iou(counts: np.ndarray) -> np.ndarray:
    """Returns mean IoU in percent from counts (seeds, 3, classes); absent classes are ignored."""
    labels, predictions, hits = np.moveaxis(counts, 1, 0)
    union = labels + predictions - hits
    with np.errstate(invalid="ignore"):
        return 100 * np.nanmean(np.where(union > 0, hits / union, np.nan), axis=1)
