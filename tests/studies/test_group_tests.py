"""Rows of tests of group means against SciPy's, and what they say of one run or no deviation."""

import csv
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from mmrep.studies.group_tests import (
    GroupTest,
    above,
    anova,
    mean_and_deviation,
    print_tests,
    t_tests,
    write_tests,
)

RANDOM = np.random.default_rng(0)
A, B, C = (RANDOM.normal(mean, 2, size) for mean, size in ((3, 7), (1, 9), (4, 5)))


def test_t_tests_are_scipys() -> None:
    student, welch = t_tests("cells", "4 layers", A, B, paper_p="< 0.05")
    for row, name, equal in ((student, "Student's t", True), (welch, "Welch's t", False)):
        expected = scipy.stats.ttest_ind(A, B, equal_var=equal)
        assert (row.statistic, row.df, row.p) == pytest.approx(
            (expected.statistic, expected.df, expected.pvalue)
        )
        assert (row.test, row.about, row.of, row.runs) == (name, "cells", "4 layers", "7, 9")
        assert row.difference == pytest.approx(A.mean() - B.mean())
        assert (row.df_within, row.eta_squared, row.paper_p) == (None, None, "< 0.05")
    # d from t, and Hedges' factor by his approximation 1 - 3 / (4 df - 1)
    assert student.cohens_d == pytest.approx(student.statistic * np.sqrt(1 / 7 + 1 / 9))
    assert student.hedges_g / student.cohens_d == pytest.approx(1 - 3 / (4 * 14 - 1), abs=1e-3)
    assert (welch.cohens_d, welch.hedges_g) == (student.cohens_d, student.hedges_g)


def test_an_analysis_of_variance_is_scipys() -> None:
    row = anova("depth", "consistent", [A, B, C])
    assert (row.statistic, row.p) == pytest.approx(tuple(scipy.stats.f_oneway(A, B, C)))
    assert (row.df, row.df_within, row.runs) == (2, 18, "7, 9, 5")
    total = ((np.concatenate([A, B, C]) - np.concatenate([A, B, C]).mean()) ** 2).sum()
    within = sum(((group - group.mean()) ** 2).sum() for group in (A, B, C))
    assert row.eta_squared == pytest.approx(1 - within / total)
    assert row.omega_squared == pytest.approx(
        (total - within - 2 * within / 18) / (total + within / 18)
    )
    assert (row.difference, row.cohens_d, row.hedges_g) == (None, None, None)
    two = anova("", "", [A, B])  # F of two groups is t squared
    student = t_tests("", "", A, B)[0]
    assert (two.statistic, two.p) == pytest.approx((student.statistic**2, student.p))


def test_above_asks_for_a_difference_upwards_that_the_test_confirms() -> None:
    p = float(scipy.stats.ttest_ind(A, B).pvalue)
    statement = above("more", "4 layers", A, B, 1.01 * p)
    assert (statement.holds, statement.spread, statement.paper) == (True, None, None)
    assert statement.ours == pytest.approx(A.mean() - B.mean())
    assert above("more", "", A, B, 0.99 * p).holds is False  # the same means, not enough
    assert above("more", "", B, A, 1.01 * p).holds is False  # enough, the wrong way round
    assert above("more", "", A, B, 0.0005).bound == "> 0, p < 0.0005"


def test_one_run_or_no_deviation_says_nothing() -> None:
    assert above("", "", A[:1], B, 0.05).holds is None
    assert above("", "", A, B[:1], 0.05).holds is None
    constant = above("", "", np.full(3, 2.0), np.full(3, 1.0), 0.05)
    assert (constant.holds, constant.ours) == (None, 1)
    assert mean_and_deviation(np.array([4.0])) == (4, None)
    assert mean_and_deviation(A) == pytest.approx((A.mean(), A.std(ddof=1)))


def test_tests_are_written_with_all_digits_and_printed_with_their_effects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [*t_tests("above", "4 layers", A, B, paper_p="< 0.05"), anova("depth", "all", [A, B])]
    write_tests(tmp_path / "tests.csv", tests)
    with (tmp_path / "tests.csv").open(newline="") as file:
        student, _, of_depth = csv.DictReader(file)
    assert tuple(student) == GroupTest._fields
    assert float(student["p"]) == tests[0].p
    assert (student["df_within"], student["eta_squared"]) == ("", "")
    assert (of_depth["df"], of_depth["df_within"], of_depth["hedges_g"]) == ("1", "14", "")
    print_tests(tests)
    printed = capsys.readouterr().out
    assert f"t(14) = {tests[0].statistic:.2f}" in printed
    assert f"F(1, 14) = {tests[2].statistic:.2f}" in printed
    assert f"g = {tests[0].hedges_g:.2f}" in printed
    assert f"omega² = {tests[2].omega_squared:.2f}" in printed
    assert printed.count("paper p < 0.05") == 2
    print_tests([])
    assert capsys.readouterr().out == ""
