"""Is one of two methods better? Tests of scores that were taken pair by pair on the same folds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import t, wilcoxon

from mmrep.stats.group_tests import TTest

CONFIDENCE = 0.95  # of the interval


class PairedComparison(NamedTuple):
    """Differences are those of a from b; all tests are two-sided.

    `corrected` allows for folds that share training data, as those of a cross-validation do;
    Student's t takes them for independent, and finds differences too often. `low` and `high` are
    the ends of the corrected test's 95 % interval. The effect d_z is in units of `deviation`.
    """

    difference: float
    deviation: float  # of the differences, with n - 1 below
    d_z: float
    student: TTest
    corrected: TTest
    low: float
    high: float
    wilcoxon: float  # the smaller sum of ranks
    wilcoxon_p: float


def compare_paired(
    a: Float[np.ndarray, "folds"], b: Float[np.ndarray, "folds"], *, test_share: float
) -> PairedComparison:
    """Whether two methods differ, by their scores on the same folds.

    Student's paired t; the same with the variance of the mean taken as 1/k + `test_share` times
    that of the differences in place of 1/k (Nadeau & Bengio 2003, 10.1023/A:1024068626366), where
    `test_share` is the size of a test fold over that of its training set: 1 / (k - 1) of k whole
    folds; and Wilcoxon's signed ranks (SciPy; differences of 0 left out), whose
    p is 1/16 or more of five pairs.

    Where no difference varies, both t, their p and d_z are NaN; where all are 0, Wilcoxon's are
    too. Variation below 1e-9 of the largest score is taken for rounding. ValueError: fewer than two
    pairs, scores without a partner, a negative test share.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"there are {len(a)} and {len(b)} scores: a paired test needs two pairs or more"
        )
    if not test_share >= 0:
        raise ValueError(f"test_share={test_share} must be 0 or more: test over training samples")
    k = len(a)
    differences = a - b
    scale = float(np.abs([a, b]).max()) or 1.0
    ranked = np.round(differences / scale, 9)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if np.ptp(ranked) else 0.0
    error = deviation * np.sqrt(1 / k + test_share)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, k - 1) * error) if error else float("nan")
    ranks = wilcoxon(ranked) if ranked.any() else None
    return PairedComparison(
        mean,
        deviation,
        _ratio(mean, deviation),
        _t_test(mean, deviation / np.sqrt(k), k - 1),
        _t_test(mean, error, k - 1),
        mean - reach,
        mean + reach,
        float("nan") if ranks is None else float(ranks.statistic),
        float("nan") if ranks is None else float(ranks.pvalue),
    )


def _t_test(difference: float, error: float, df: int) -> TTest:
    statistic = _ratio(difference, error)
    return TTest(statistic, float(df), float(2 * t.sf(abs(statistic), df)))


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")
