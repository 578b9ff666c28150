"""Tests of group means against SciPy, scikit-learn and tables, and effects by their definitions."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LinearRegression

from mmrep.stats.group_tests import compare_groups, one_way_anova

RANDOM = np.random.default_rng(0)
A, B, C = RANDOM.normal(29, 3, 10), RANDOM.normal(17, 6, 7), RANDOM.normal(20, 4, 10)


@pytest.mark.parametrize(("a", "b"), [(A, B), (B, A), (A, C)])
def test_students_and_welchs_t_are_scipys(a: np.ndarray, b: np.ndarray) -> None:
    found = compare_groups(a, b)
    for ours, equal in ((found.student, True), (found.welch, False)):
        expected = scipy.stats.ttest_ind(a, b, equal_var=equal)
        assert_allclose(ours, (expected.statistic, expected.df, expected.pvalue), rtol=1e-10)
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_ten_runs_against_ten_have_18_degrees_of_freedom_and_the_tables_bound() -> None:
    # Two groups +-1 about their means: pooled variance 10/9, so t = difference / sqrt(2/9).
    ones = np.array([1.0, -1.0] * 5)
    found = compare_groups(ones + 2.1009220402410378 * np.sqrt(2 / 9), ones)
    assert found.student.df == 18
    assert found.student.p == pytest.approx(0.05, abs=1e-9)
    assert found.cohens_d == pytest.approx(2.1009220402410378 * np.sqrt(2 / 10))
    assert found.welch == pytest.approx(found.student)


def test_hedges_g_has_no_bias_where_cohens_d_has_one() -> None:
    draws = np.random.default_rng(1).normal(size=(2500, 2, 3))
    found = [compare_groups(a + 1, b)[3:] for a, b in draws]
    d, g = np.mean(found, axis=0)
    assert g == pytest.approx(1, abs=0.08)
    assert d > 1.2
    several = compare_groups(A, C)
    assert several.hedges_g == pytest.approx(several.cohens_d * (1 - 3 / (4 * 18 - 1)), rel=1e-3)


def test_the_analysis_of_variance_is_scipys_and_scikit_learns() -> None:
    groups = [A, B, C]
    found = one_way_anova(groups)
    assert_allclose((found.f, found.p), scipy.stats.f_oneway(*groups), rtol=1e-10)
    values, group = np.concatenate(groups), np.repeat(np.arange(3), [10, 7, 10])
    f, p = f_classif(values[:, None], group)
    assert_allclose((found.f, found.p), (f[0], p[0]), rtol=1e-10)
    assert (found.df_between, found.df_within) == (2, 24)
    indicators = np.eye(3)[group]
    regression = LinearRegression().fit(indicators, values)
    assert found.eta_squared == pytest.approx(regression.score(indicators, values))
    # omega^2 by F alone
    omega = 2 * (found.f - 1) / (2 * (found.f - 1) + 27)
    assert found.omega_squared == pytest.approx(omega)


def test_of_two_groups_f_is_the_square_of_t() -> None:
    t, found = compare_groups(A, B).student, one_way_anova([A, B])
    assert found.f == pytest.approx(t.t**2)
    assert found.p == pytest.approx(t.p)
    assert found.eta_squared == pytest.approx(t.t**2 / (t.t**2 + t.df))


def test_four_depths_of_ten_runs_have_the_papers_degrees_of_freedom() -> None:
    found = one_way_anova(list(RANDOM.normal(size=(4, 10))))
    assert (found.df_between, found.df_within) == (3, 36)


def test_omega_squared_has_no_bias_where_eta_squared_has_one() -> None:
    equal = np.random.default_rng(2).normal(size=(1000, 4, 3))
    found = [one_way_anova(list(groups))[4:] for groups in equal]
    eta, omega = np.mean(found, axis=0)
    assert eta == pytest.approx(3 / 11, abs=0.02)
    assert omega == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_a_unit_of_measurement_changes_nothing_but_the_difference(scale: float) -> None:
    before, after = compare_groups(A, B), compare_groups(scale * A + 5, scale * B + 5)
    assert after.difference == pytest.approx(scale * before.difference)
    for field in ("student", "welch", "cohens_d", "hedges_g"):
        assert_allclose(getattr(after, field), getattr(before, field), rtol=1e-9)
    groups = [A, B, C]
    changed = one_way_anova([scale * group + 5 for group in groups])
    assert_allclose(changed, one_way_anova(groups), rtol=1e-9)


def test_without_deviation_nothing_is_said_of_chance() -> None:
    a, b = np.full(3, 0.1), np.full(4, 0.3)  # whose means are not exact
    found = compare_groups(a, b)
    assert found.difference == pytest.approx(-0.2)
    assert np.isnan([*found.student[::2], *found.welch, found.cohens_d, found.hedges_g]).all()
    assert found.student.df == 5
    of_both = one_way_anova([a, b])
    assert np.isnan([of_both.f, of_both.p]).all()
    assert (of_both.eta_squared, of_both.omega_squared) == (1, 1)
    assert np.isnan(one_way_anova([a, a])[4:]).all()
    one_sided = compare_groups(a, np.array([0.2, 0.3, 0.4]))  # one deviation is enough
    assert one_sided.welch.df == pytest.approx(2)
    assert one_sided.welch.t == pytest.approx(-0.2 / np.sqrt(0.01 / 3))


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"groups of \[10, 1\] values: each needs two"):
        compare_groups(A, B[:1])
    with pytest.raises(ValueError, match="there are 1 groups"):
        one_way_anova([A])
