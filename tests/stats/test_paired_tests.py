"""Paired tests against SciPy, by hand, and on folds that share what the correction supposes."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from mmrep.stats.paired_tests import compare_paired

RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(81, 3, 10), RANDOM.normal(80, 3, 10)


@pytest.mark.parametrize(("a", "b"), [(A, B), (B, A), (A[:5], B[:5])])
def test_students_t_and_wilcoxons_ranks_are_scipys(a: np.ndarray, b: np.ndarray) -> None:
    found = compare_paired(a, b, test_share=0.2)
    expected = scipy.stats.ttest_rel(a, b)
    assert_allclose(found.student, (expected.statistic, expected.df, expected.pvalue), rtol=1e-6)
    ranks = scipy.stats.wilcoxon(a, b)
    assert (found.wilcoxon, found.wilcoxon_p) == pytest.approx((ranks.statistic, ranks.pvalue))
    assert found.difference == pytest.approx(a.mean() - b.mean(), abs=1e-6)
    assert found.d_z == pytest.approx(found.student.t / np.sqrt(len(a)))
    # The t-distribution's own interval, of an error as many times longer as the correction says.
    longer = np.sqrt(1 + 0.2 * len(a))
    low, high = np.array(expected.confidence_interval()) - found.difference
    assert_allclose((found.low, found.high), found.difference + longer * np.array([low, high]),
                    rtol=1e-6)  # fmt: skip


def test_three_differences_by_hand() -> None:
    # 1, 2, 3: mean 2, variance 1. With two degrees of freedom p = 1 - t / sqrt(2 + t^2), and the
    # 95 % point is 0.95 sqrt(2 / (1 - 0.95^2)). Three folds test half as many as they train on.
    found = compare_paired(np.array([11.0, 22.0, 33.0]), np.array([10.0, 20.0, 30.0]),
                           test_share=1 / 2)  # fmt: skip
    assert (found.difference, found.deviation, found.d_z) == pytest.approx((2, 1, 2))
    for test, variance in ((found.student, 1 / 3), (found.corrected, 1 / 3 + 1 / 2)):
        t = 2 / np.sqrt(variance)
        assert test == pytest.approx((t, 2, 1 - t / np.sqrt(2 + t**2)))
    reach = 0.95 * np.sqrt(2 / (1 - 0.95**2)) * np.sqrt(5 / 6)
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach))
    assert (found.wilcoxon, found.wilcoxon_p) == pytest.approx((0, 2 / 2**3))  # all signs equal


def test_without_a_share_the_correction_is_none() -> None:
    found = compare_paired(A, B, test_share=0.0)
    assert found.corrected == pytest.approx(found.student)


def test_folds_that_share_training_data_differ_by_chance_as_often_as_is_said() -> None:
    # Differences of no mean and correlation rho: the variance of their mean is 1/k + (1 - 1/k) rho,
    # that within is 1 - rho on average, and the ratio of both is 1/k + rho / (1 - rho). Nadeau and
    # Bengio take rho for the test fold's share of all samples, and rho / (1 - rho) is then that of
    # test over training samples.
    k, rho, draws = 5, 0.2, 1000
    random = np.random.default_rng(1)
    shared, own = random.normal(size=(draws, 1)), random.normal(size=(draws, k))
    differences = np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
    found = [compare_paired(d, np.zeros(k), test_share=rho / (1 - rho)) for d in differences]
    assert np.mean([one.corrected.p < 0.05 for one in found]) == pytest.approx(0.05, abs=0.02)
    assert np.mean([one.low > 0 or one.high < 0 for one in found]) == (
        np.mean([one.corrected.p < 0.05 for one in found])
    )
    assert np.mean([one.student.p < 0.05 for one in found]) > 0.1


def test_a_unit_of_measurement_changes_nothing_but_the_difference() -> None:
    one, hundred = (compare_paired(f * A, f * B, test_share=1 / 9) for f in (0.01, 1.0))
    assert hundred.difference == pytest.approx(100 * one.difference)
    assert hundred.corrected == pytest.approx(one.corrected)
    assert (hundred.d_z, hundred.wilcoxon_p) == pytest.approx((one.d_z, one.wilcoxon_p))


def test_without_variation_nothing_is_said_of_chance() -> None:
    a = np.array([0.3, 0.4, 0.7])
    ahead = compare_paired(a + 0.1, a, test_share=0.5)  # 0.1 but for rounding
    assert ahead.difference == pytest.approx(0.1)
    assert ahead.deviation == 0
    nothing = (*ahead.student[::2], *ahead.corrected[::2], ahead.d_z, ahead.low, ahead.high)
    assert np.isnan(nothing).all()
    assert ahead.wilcoxon_p == pytest.approx(2 / 2**3)
    same = compare_paired(a, a, test_share=0.5)
    assert same.difference == 0
    assert np.isnan([same.student.p, same.corrected.p, same.wilcoxon, same.wilcoxon_p]).all()
    zeros = compare_paired(np.zeros(2), np.zeros(2), test_share=0.5)
    assert zeros.difference == zeros.deviation == 0


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there are 1 and 1 scores: a paired test needs two"):
        compare_paired(A[:1], B[:1], test_share=0.1)
    with pytest.raises(ValueError, match=r"test_share=-0.1 must be 0 or more"):
        compare_paired(A, B, test_share=-0.1)
