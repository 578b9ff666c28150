"""Are groups of repetitions different? Tests of their means, with the sizes of the effects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln
from scipy.stats import f, t


class TTest(NamedTuple):
    """Student's or Welch's t, two-sided."""

    t: float
    df: float
    p: float


class GroupComparison(NamedTuple):
    """Two independent groups; differences are those of a from b.

    Effects are in units of the pooled deviation: Cohen's d, and Hedges' g without its bias in small
    samples (Hedges 1981, 10.3102/10769986006002107, exactly).
    """

    difference: float
    student: TTest  # equal variances supposed
    welch: TTest
    cohens_d: float
    hedges_g: float


class OneWayANOVA(NamedTuple):
    """Effects are shares of the variance: eta^2 in these samples, omega^2 without its bias."""

    f: float
    df_between: int
    df_within: int
    p: float
    eta_squared: float
    omega_squared: float


def compare_groups(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "m"]) -> GroupComparison:
    """Whether the means of two independent groups differ.

    Where no value differs within its group there is no deviation to compare with: t, p and the
    effects are NaN, and so is Welch's df. ValueError: fewer than two values in a group.
    """
    _check([a, b])
    n, m = len(a), len(b)
    df = n + m - 2
    difference = float(a.mean() - b.mean())
    squares = _squares(a) + _squares(b)
    pooled = np.sqrt(squares / df)
    errors = np.array([_squares(a) / (n - 1) / n, _squares(b) / (m - 1) / m])
    welch_df = _ratio(errors.sum() ** 2, (errors**2 / [n - 1, m - 1]).sum())
    d = _ratio(difference, pooled)
    unbiased = np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    return GroupComparison(
        difference,
        _t_test(_ratio(difference, pooled * np.sqrt(1 / n + 1 / m)), float(df)),
        _t_test(_ratio(difference, np.sqrt(errors.sum())), welch_df),
        d,
        float(unbiased * d),
    )


def one_way_anova(groups: Sequence[Float[np.ndarray, "_"]]) -> OneWayANOVA:
    """Whether the means of independent groups differ, equal variances supposed.

    Where no value differs within its group, F and p are NaN; the effects are NaN where all values
    are equal. ValueError: fewer than two groups, or than two values in one.
    """
    if len(groups) < 2:
        raise ValueError(f"there are {len(groups)} groups: an analysis of variance needs two")
    _check(groups)
    values = np.concatenate(groups)
    df_between, df_within = len(groups) - 1, len(values) - len(groups)
    within = sum(map(_squares, groups))
    mean = values.mean()
    equal = np.ptp(values) == 0
    between = 0.0 if equal else sum(len(group) * (group.mean() - mean) ** 2 for group in groups)
    statistic = _ratio(between / df_between, within / df_within)
    noise = within / df_within
    return OneWayANOVA(
        statistic,
        df_between,
        df_within,
        float(f.sf(statistic, df_between, df_within)),
        _ratio(between, between + within),
        _ratio(between - df_between * noise, between + within + noise),
    )


def _t_test(statistic: float, df: float) -> TTest:
    return TTest(statistic, df, float(2 * t.sf(abs(statistic), df)))


def _squares(values: Float[np.ndarray, "_"]) -> float:
    """Sum of squared deviations; 0 where all are equal, whatever rounding makes of their mean."""
    return 0.0 if np.ptp(values) == 0 else float(((values - values.mean()) ** 2).sum())


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


def _check(groups: Sequence[Float[np.ndarray, "_"]]) -> None:
    sizes = [len(group) for group in groups]
    if min(sizes) < 2:
        raise ValueError(f"groups of {sizes} values: each needs two to have a deviation")
